// Go's own HTTP client with an https:// proxy that asks for a certificate.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"net/url"
	"os"
)

func main() {
	roots := x509.NewCertPool()
	for _, name := range []string{"BAILIWICK_PROXY_CA", "SSL_CERT_FILE"} {
		pem, err := os.ReadFile(os.Getenv(name))
		if err != nil || !roots.AppendCertsFromPEM(pem) {
			panic(name)
		}
	}
	pair, err := tls.LoadX509KeyPair(os.Getenv("BAILIWICK_PROXY_CERT"), os.Getenv("BAILIWICK_PROXY_KEY"))
	if err != nil {
		panic(err)
	}
	proxy, err := url.Parse(os.Getenv("BAILIWICK_PROXY_URL"))
	if err != nil {
		panic(err)
	}
	client := http.Client{Transport: &http.Transport{
		Proxy:           http.ProxyURL(proxy),
		TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}},
	}}
	for _, target := range os.Args[1:] {
		response, err := client.Get(target)
		if err != nil {
			panic(err)
		}
		response.Body.Close()
		if response.StatusCode != 200 {
			panic(response.Status)
		}
	}
	fmt.Println("both")
}
