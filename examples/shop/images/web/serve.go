package main

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"html/template"
	"log"
	"net/http"
	"os"
	"strings"
	"time"
)

// shownFiles bounds the page; the digest is over all of them.
const shownFiles = 40

var page = template.Must(template.New("page").Parse(`<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{{.Banner}}</title>
<h1>{{.Banner}}</h1>
<p>{{.PublicURL}}</p>
<h2>Orders</h2>
<p>{{.Orders}} orders, digest <code>{{.Digest}}</code>, read from {{.Database}} by {{.Pod}}</p>
<table><tr><th>state<th>orders<th>revenue</tr>{{range .States}}
<tr><td>{{.State}}<td>{{.Orders}}<td>{{.Revenue}}</tr>{{end}}</table>
<h2>Files</h2>
<p>{{.Files}} entries, digest of the list <code>{{.FilesDigest}}</code></p>
<pre>{{range .Shown}}{{.}}
{{end}}</pre></html>
`))

type stateRow struct {
	State   string
	Orders  int64
	Revenue string
}

type pageData struct {
	Banner, PublicURL, Database, Pod, Digest, FilesDigest string
	Orders                                                int64
	Files                                                 int
	States                                                []stateRow
	Shown                                                 []string
}

type server struct {
	db       *sql.DB
	filesDir string
}

func serve(ctx context.Context) error {
	db, err := open()
	if err != nil {
		return err
	}
	defer db.Close()
	s := server{db: db, filesDir: os.Getenv("FILES_DIR")}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.page)
	mux.HandleFunc("GET /digest", s.digest)
	mux.HandleFunc("GET /healthz", s.healthz)
	web := &http.Server{Addr: ":8080", Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() {
		<-ctx.Done()
		closing, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = web.Shutdown(closing)
	}()
	log.Printf("serving on %s, database at %s", web.Addr, os.Getenv("PGHOST"))
	if err := web.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// healthz asks for the table itself: a pod is ready when it can do its work,
// so a roll-out on the new cluster says that the data has arrived.
func (s server) healthz(w http.ResponseWriter, r *http.Request) {
	var one int
	if err := s.db.QueryRowContext(r.Context(), `SELECT 1 FROM orders LIMIT 1`).Scan(&one); err != nil {
		fail(w, http.StatusServiceUnavailable, err)
		return
	}
	fmt.Fprintln(w, "ok")
}

func (s server) digest(w http.ResponseWriter, r *http.Request) {
	count, sum, err := digest(r.Context(), s.db)
	if err != nil {
		fail(w, http.StatusInternalServerError, err)
		return
	}
	fmt.Fprintln(w, count, sum)
}

func (s server) page(w http.ResponseWriter, r *http.Request) {
	data, err := s.collect(r.Context())
	if err != nil {
		fail(w, http.StatusInternalServerError, err)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if err := page.Execute(w, data); err != nil {
		log.Print("write the page: ", err)
	}
}

func (s server) collect(ctx context.Context) (pageData, error) {
	data := pageData{
		Banner:    os.Getenv("BANNER"),
		PublicURL: os.Getenv("PUBLIC_URL"),
		Database:  os.Getenv("PGHOST"),
		Pod:       os.Getenv("POD_NAME"),
	}
	var err error
	if data.Orders, data.Digest, err = digest(ctx, s.db); err != nil {
		return data, err
	}
	if data.States, err = s.states(ctx); err != nil {
		return data, err
	}
	lines, err := listing(s.filesDir)
	if err != nil {
		return data, err
	}
	data.Files = len(lines)
	data.FilesDigest = fmt.Sprintf("%x", sha256.Sum256([]byte(strings.Join(lines, "\n"))))
	data.Shown = lines[:min(len(lines), shownFiles)]
	return data, nil
}

func (s server) states(ctx context.Context) ([]stateRow, error) {
	rows, err := s.db.QueryContext(ctx,
		`SELECT state, count(*), sum(quantity * price) FROM orders GROUP BY state ORDER BY state`)
	if err != nil {
		return nil, fmt.Errorf("read the states: %w", err)
	}
	defer rows.Close()
	var states []stateRow
	for rows.Next() {
		var row stateRow
		if err := rows.Scan(&row.State, &row.Orders, &row.Revenue); err != nil {
			return nil, fmt.Errorf("read a state: %w", err)
		}
		states = append(states, row)
	}
	return states, rows.Err()
}

func fail(w http.ResponseWriter, status int, err error) {
	log.Print(err)
	http.Error(w, err.Error(), status)
}
