// SPDX-License-Identifier: Apache-2.0

// An HTTP server and client of Go's own library, for the kernel tests. See programs/README.md.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strconv"
	"sync"
)

func serve(port string) error {
	http.HandleFunc("/hello", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello\n") })
	http.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			log.Fatal(err)
		}
		w.Write(body)
	})
	return http.ListenAndServe("127.0.0.1:"+port, nil)
}

func request(client *http.Client, base string, n int) (int, error) {
	var answer *http.Response
	var err error
	switch n % 3 {
	case 0:
		answer, err = client.Get(base + "/hello")
	case 1:
		answer, err = client.Post(base+"/echo", "application/octet-stream", bytes.NewReader(make([]byte, 3000)))
	default:
		answer, err = client.Get(base + "/missing")
	}
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	_, err = io.Copy(io.Discard, answer.Body)
	return answer.StatusCode, err
}

func load(base string, workers, each int) error {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: workers}}
	counts := map[string]int{}
	var lock sync.Mutex
	var all sync.WaitGroup
	for range make([]struct{}, workers) {
		all.Add(1)
		go func() {
			defer all.Done()
			for n := 0; n < each; n++ {
				status, err := request(client, base, n)
				if err != nil {
					log.Fatal(err)
				}
				lock.Lock()
				counts[strconv.Itoa(status)]++
				lock.Unlock()
			}
		}()
	}
	all.Wait()
	text, err := json.Marshal(counts)
	fmt.Println(string(text))
	return err
}

func main() {
	if os.Args[1] == "server" {
		log.Fatal(serve(os.Args[2]))
	}
	workers, err := strconv.Atoi(os.Args[3])
	if err != nil {
		log.Fatal(err)
	}
	each, err := strconv.Atoi(os.Args[4])
	if err != nil {
		log.Fatal(err)
	}
	if err := load(os.Args[2], workers, each); err != nil {
		log.Fatal(err)
	}
}
