// Go's net/http as a driver: go build -o go_driver examples/clientspec/go_driver.go
// and then h2wsgi-clientspec --driver -- ./go_driver
package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

type order struct {
	ID   int    `json:"id"`
	Do   string `json:"do"`
	URL  string `json:"url"`
	CA   string `json:"ca"`
	Size int    `json:"size"`
}

var lock sync.Mutex

func say(answer map[string]any) {
	line, _ := json.Marshal(answer)
	lock.Lock()
	defer lock.Unlock()
	os.Stdout.Write(append(line, '\n'))
}

func makeClient(ca string) *http.Client {
	pool := x509.NewCertPool()
	text, _ := os.ReadFile(ca)
	pool.AppendCertsFromPEM(text)
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true, DisableCompression: true,
	}
	return &http.Client{Transport: transport, Timeout: 8 * time.Second}
}

func carryOut(o order, client *http.Client) {
	request, err := http.NewRequest(strings.ToUpper(o.Do), o.URL, nil)
	if o.Do == "post" {
		request, err = http.NewRequest("POST", o.URL, bytes.NewReader(bytes.Repeat([]byte("x"), o.Size)))
	}
	var response *http.Response
	if err == nil {
		response, err = client.Do(request)
	}
	if err != nil {
		say(map[string]any{"id": o.ID, "error": err.Error()})
		return
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		say(map[string]any{"id": o.ID, "error": err.Error()})
		return
	}
	digest := sha256.Sum256(content)
	answer := map[string]any{
		"id": o.ID, "status": response.StatusCode, "length": len(content), "digest": hex.EncodeToString(digest[:]),
	}
	if check := response.Header.Get("x-check"); check != "" {
		answer["check"] = check
	}
	if trailer := response.Trailer.Get("x-trailer"); trailer != "" {
		answer["trailer"] = trailer
	}
	say(answer)
}

func main() {
	var client *http.Client
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var o order
		json.Unmarshal(lines.Bytes(), &o)
		if o.Do == "close" {
			if client != nil {
				client.CloseIdleConnections()
			}
			client = nil
			say(map[string]any{"id": o.ID})
			continue
		}
		if client == nil {
			client = makeClient(o.CA)
		}
		go carryOut(o, client)
	}
}
