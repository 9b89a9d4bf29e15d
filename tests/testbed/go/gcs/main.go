// Command gcs stands in for Google Cloud Storage: fake-gcs-server, and in front of it the two requests of the XML
// API that it lacks and storage clients use, put and delete of an object, as the JSON API has them.
package main

import (
	"encoding/json"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"

	"github.com/fsouza/fake-gcs-server/fakestorage"
)

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: gcs HOST:PORT BUCKET")
	}
	address, bucket := os.Args[1], os.Args[2]
	server, err := fakestorage.NewServerWithOptions(fakestorage.Options{NoListener: true, PublicHost: address})
	if err != nil {
		log.Fatal(err)
	}
	server.CreateBucketWithOpts(fakestorage.CreateBucketOpts{Name: bucket})
	log.Fatal(http.ListenAndServe(address, withWrites(server.HTTPHandler())))
}

func withWrites(inner http.Handler) http.Handler {
	return http.HandlerFunc(func(answer http.ResponseWriter, request *http.Request) {
		bucket, object, named := strings.Cut(strings.TrimPrefix(request.URL.EscapedPath(), "/"), "/")
		switch {
		case named && request.Method == http.MethodPut && bucket != "upload":
			put(inner, answer, request, bucket, object)
		case named && request.Method == http.MethodDelete && bucket != "storage":
			redirect(request, "/storage/v1/b/"+bucket+"/o/"+object, nil)
			inner.ServeHTTP(answer, request)
		default:
			inner.ServeHTTP(answer, request)
		}
	})
}

func put(inner http.Handler, answer http.ResponseWriter, request *http.Request, bucket, object string) {
	name, err := url.PathUnescape(object)
	if err != nil {
		http.Error(answer, err.Error(), http.StatusBadRequest)
		return
	}
	query := url.Values{"uploadType": {"media"}, "name": {name}}
	if wanted := request.Header.Get("x-goog-if-generation-match"); wanted != "" {
		query.Set("ifGenerationMatch", wanted)
	}
	redirect(request, "/upload/storage/v1/b/"+bucket+"/o", query)
	request.Method = http.MethodPost
	said := httptest.NewRecorder()
	inner.ServeHTTP(said, request)
	var stored struct{ Etag, Generation string }
	if said.Code == http.StatusOK && json.Unmarshal(said.Body.Bytes(), &stored) == nil {
		answer.Header().Set("ETag", stored.Etag)
		answer.Header().Set("x-goog-generation", stored.Generation)
	}
	answer.WriteHeader(said.Code)
	if said.Code != http.StatusOK {
		answer.Write(said.Body.Bytes())
	}
}

// redirect takes an escaped path.
func redirect(request *http.Request, path string, query url.Values) {
	request.URL.RawPath = path
	request.URL.Path, _ = url.PathUnescape(path)
	request.URL.RawQuery = query.Encode()
	request.RequestURI = request.URL.RequestURI()
}
