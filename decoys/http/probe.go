package http

import "net"

// intruder is set in test builds only. It gets what the server sends datagrams through, and the requests it answers instead
// of the site.
var intruder struct {
	packets func(net.PacketConn)
	answer  func(*request) *response
}
