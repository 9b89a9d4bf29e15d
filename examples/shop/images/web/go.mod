module example.com/shop/web

go 1.24.0

require (
	github.com/lib/pq v1.10.9
	golang.org/x/sys v0.38.0
)
