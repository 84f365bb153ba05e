// One call with Go's net/http as people write it: the proxy comes from HTTPS_PROXY, the authority from SSL_CERT_FILE.
//
// Usage: agent URL h1|h2 [TOKEN]. Prints the status, the version of HTTP and what came back.
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
)

func main() {
	if err := call(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func call() error {
	var versions http.Protocols
	versions.SetHTTP1(os.Args[2] == "h1")
	versions.SetHTTP2(os.Args[2] == "h2")
	versions.SetUnencryptedHTTP2(os.Args[2] == "h2")
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, Protocols: &versions}
	client := http.Client{Transport: transport, Timeout: 20 * time.Second}
	request, err := http.NewRequest("POST", os.Args[1], strings.NewReader(`{"text":"hello"}`))
	if err != nil {
		return err
	}
	request.Header.Set("content-type", "application/json")
	if len(os.Args) > 3 {
		request.Header.Set("authorization", "Bearer "+os.Args[3])
	}
	answer, err := client.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	fmt.Println(answer.StatusCode, answer.Proto, string(body))
	return nil
}
