// Go's net/http as a driver: go build -o go_driver examples/clientspec/go_driver.go
// and then h2wsgi-clientspec --driver -- ./go_driver
package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strings"
	"time"
)

type order struct {
	ID, Size    int
	Do, URL, CA string
}

type answer map[string]any

func makeClient(ca string) *http.Client {
	pool := x509.NewCertPool()
	text, _ := os.ReadFile(ca)
	pool.AppendCertsFromPEM(text)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true}
	return &http.Client{Transport: transport, Timeout: 8 * time.Second}
}

func carryOut(o order, client *http.Client) (answer, error) {
	upload := bytes.NewReader(bytes.Repeat([]byte("x"), o.Size))
	request, err := http.NewRequest(strings.ToUpper(o.Do), o.URL, upload)
	if err != nil {
		return nil, err
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	told := answer{"status": response.StatusCode, "length": len(content)}
	told["digest"] = fmt.Sprintf("%x", sha256.Sum256(content))
	told["check"], told["trailer"] = response.Header.Get("x-check"), response.Trailer.Get("x-trailer")
	return told, err
}

func main() {
	say := log.New(os.Stdout, "", 0) // Whole lines, whoever writes.
	client := &http.Client{}
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		var o order
		json.Unmarshal(lines.Bytes(), &o)
		if client.Transport == nil {
			client = makeClient(o.CA)
		}
		go func(client *http.Client) {
			told, err := answer{}, error(nil)
			if o.Do == "close" {
				client.CloseIdleConnections()
			} else if told, err = carryOut(o, client); err != nil {
				told = answer{"error": err.Error()}
			}
			told["id"] = o.ID
			line, _ := json.Marshal(told)
			say.Print(string(line))
		}(client)
		if o.Do == "close" {
			client = &http.Client{}
		}
	}
}
