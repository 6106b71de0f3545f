// Java's HttpClient as a driver: h2wsgi-clientspec --driver -- java examples/clientspec/JavaDriver.java
import java.io.*;
import java.net.URI;
import java.net.http.*;
import java.nio.file.*;
import java.security.*;
import java.security.cert.*;
import java.time.Duration;
import java.util.*;
import java.util.regex.*;
import javax.net.ssl.*;

public class JavaDriver {
    static HttpClient client;
    static String value(String line, String name) {
        Matcher found = Pattern.compile("\"" + name + "\": *\"?([^\",}]*)").matcher(line);
        return found.find() ? found.group(1) : "";
    }

    static String quoted(Object text) {
        return '"' + Pattern.compile("[^ !#-\\[\\]-~]").matcher(String.valueOf(text))
            .replaceAll(odd -> String.format("\\\\u%04x", (int) odd.group().charAt(0))) + '"';
    }

    static synchronized void say(String id, String rest) {
        System.out.println("{\"id\": " + id + rest + "}");
        System.out.flush();
    }

    static HttpClient make(String ca) throws Exception {
        KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
        store.load(null, null);
        try (InputStream file = Files.newInputStream(Path.of(ca))) {
            store.setCertificateEntry("ca", CertificateFactory.getInstance("X.509").generateCertificate(file));
        }
        TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(store);
        SSLContext tls = SSLContext.getInstance("TLS");
        tls.init(null, trust.getTrustManagers(), null);
        return HttpClient.newBuilder().sslContext(tls).version(HttpClient.Version.HTTP_2).build();
    }

    static void answer(String id, HttpResponse<byte[]> response, Throwable error) {
        if (error != null) {
            say(id, ", \"error\": " + quoted(error));
            return;
        }
        try {
            byte[] content = response.body();
            String digest = HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(content));
            String check = response.headers().firstValue("x-check").map(v -> ", \"check\": " + quoted(v)).orElse("");
            say(id, ", \"status\": " + response.statusCode() + ", \"digest\": \"" + digest
                + "\", \"length\": " + content.length + check);
        } catch (NoSuchAlgorithmException missing) {
            say(id, ", \"error\": " + quoted(missing));
        }
    }

    public static void main(String[] arguments) throws Exception {
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        for (String line; (line = lines.readLine()) != null; ) {
            String id = value(line, "id"), action = value(line, "do");
            if (action.equals("close")) {
                client = null; // Its connections end with it, or when the server closes them.
                say(id, "");
                continue;
            }
            if (client == null) client = make(value(line, "ca"));
            byte[] content = new byte[action.equals("post") ? Integer.parseInt(value(line, "size")) : 0];
            HttpRequest request = HttpRequest.newBuilder(URI.create(value(line, "url")))
                .timeout(Duration.ofSeconds(8))
                .method(action.toUpperCase(), action.equals("post")
                    ? HttpRequest.BodyPublishers.ofByteArray(content) : HttpRequest.BodyPublishers.noBody())
                .build();
            client.sendAsync(request, HttpResponse.BodyHandlers.ofByteArray())
                .whenComplete((response, error) -> answer(id, response, error));
        }
        System.exit(0);
    }
}
