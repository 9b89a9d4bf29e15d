// Relay makes a server look far away: it passes connections on and holds every byte back for half of the round trip in
// each direction. It stands in for netem, which not every kernel has.
//
//	relay LISTEN SERVER ROUND-TRIP
package main

import (
	"log"
	"net"
	"os"
	"time"
)

// What one direction of a connection may have on its way: 4 MiB, what Linux grants a TCP connection by default. On a round
// trip of 20 ms that is 200 MB/s for each connection.
const (
	piece    = 64 << 10
	inFlight = 64
)

type parcel struct {
	due  time.Time
	data []byte
}

func main() {
	if len(os.Args) != 4 {
		log.Fatal("usage: relay LISTEN SERVER ROUND-TRIP")
	}
	round, err := time.ParseDuration(os.Args[3])
	if err != nil {
		log.Fatal(err)
	}
	listener, err := net.Listen("tcp", os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	for {
		client, err := listener.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go connect(client.(*net.TCPConn), os.Args[2], round)
	}
}

func connect(client *net.TCPConn, address string, round time.Duration) {
	// The handshake, which the kernel has already answered.
	time.Sleep(round)
	server, err := net.Dial("tcp", address)
	if err != nil {
		log.Print(err)
		client.Close()
		return
	}
	go carry(client, server.(*net.TCPConn), round/2)
	carry(server.(*net.TCPConn), client, round/2)
}

// carry brings what one side sends to the other, late.
func carry(from, to *net.TCPConn, delay time.Duration) {
	way := make(chan parcel, inFlight)
	free := make(chan []byte, inFlight+2)
	for range inFlight + 2 {
		free <- nil
	}
	go func() {
		defer close(way)
		for data := range free {
			if data == nil {
				data = make([]byte, piece)
			}
			count, err := from.Read(data[:piece])
			if count > 0 {
				way <- parcel{time.Now().Add(delay), data[:count]}
			}
			if err != nil {
				return
			}
		}
	}()
	for parcel := range way {
		time.Sleep(time.Until(parcel.due))
		if _, err := to.Write(parcel.data); err != nil {
			from.CloseRead()
		}
		free <- parcel.data
	}
	to.CloseWrite()
}
