// Fetches the URL given with Go's default client. It knows nothing of Bailiwick, but for the files of a
// client certificate where one is what it comes in with.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"net/http"
	"os"
)

// What Go's client shows and believes, at the gateway as well as behind it. Not the default transport: that
// one agrees on HTTP/2 with a proxy too, and then refuses to ask it for http:// (Go 1.19: "http2:
// unsupported scheme").
func useCertificate(certificate string) {
	roots := x509.NewCertPool()
	for _, name := range []string{"BAILIWICK_PROXY_CA", "SSL_CERT_FILE"} {
		pem, err := os.ReadFile(os.Getenv(name))
		if err != nil || !roots.AppendCertsFromPEM(pem) {
			log.Fatal(name, err)
		}
	}
	pair, err := tls.LoadX509KeyPair(certificate, os.Getenv("BAILIWICK_PROXY_KEY"))
	if err != nil {
		log.Fatal(err)
	}
	http.DefaultTransport = &http.Transport{
		Proxy:           http.ProxyFromEnvironment,
		TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}},
	}
}

func main() {
	if certificate := os.Getenv("BAILIWICK_PROXY_CERT"); certificate != "" {
		useCertificate(certificate)
	}
	answer, err := http.Get(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil || answer.StatusCode != http.StatusOK {
		log.Fatal(answer.Status, err)
	}
}
