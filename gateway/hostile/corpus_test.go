package hostile

import (
	"fmt"
	"strings"
)

// exchangeCase is what a client sends on one connection, before a last request (?next) that shows where the server thinks that
// it ends. Requests in it are told apart by their queries: ?a, ?b; what must never become a request is ?smuggled.
type exchangeCase struct {
	name string
	raw  string
	want verdict
}

// verdict is what becomes of a case.
type verdict byte

const (
	// refusal: it can be read in two ways, or is no HTTP at all. It is answered with a status of the client's, and the
	// connection ends.
	refusal verdict = iota
	// whole: there is one way to read it, and the gateway takes that.
	whole
	// last: a body in chunks. Its request may be taken if net/http reads it likewise, and is the last one of its connection.
	last
	// lastHere is last for what net/http refuses: an extension that is too long, the line after the last chunk missing. Where the
	// body ends is no question.
	lastHere
	// lenient: it is read as whole, whatever net/http does.
	lenient
	// ended: nothing follows, and nothing is seen, as it is not whole.
	ended
)

const (
	mirrorPath  = "/v1/web/acme.mirror"
	requestHead = " " + mirrorPath + "?%s HTTP/1.1\r\nHost: gateway\r\n"
	smuggled    = "GET " + mirrorPath + "?smuggled HTTP/1.1\r\nHost: gateway\r\n\r\n"
)

// corpus returns all cases: each group is a frame and what stands in it.
func corpus() []exchangeCase {
	var all []exchangeCase
	add := func(group, frame string, want verdict, values ...string) {
		for _, v := range values {
			all = append(all, exchangeCase{group + ": " + strings.Trim(fmt.Sprintf("%q", v), `"`), strings.ReplaceAll(frame, "@", v), want})
		}
	}
	get, post := "GET"+fmt.Sprintf(requestHead, "a"), "POST"+fmt.Sprintf(requestHead, "a")

	// How a body is framed: transfer encodings, alone, before a body in chunks.
	chunked := post + "@\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
	add("encoding", chunked, last,
		"Transfer-Encoding: chunked", "transfer-encoding: chunked", "TRANSFER-ENCODING: chunked", "Transfer-Encoding:chunked",
		"Transfer-Encoding: chunked ", "Transfer-Encoding:   chunked", "Transfer-Encoding: Chunked", "Transfer-Encoding: CHUNKED",
		"Transfer-Encoding:\tchunked", "Transfer-Encoding: chunked\t")
	add("encoding", chunked, refusal,
		"Transfer-Encoding : chunked", "Transfer-Encoding\t: chunked", " Transfer-Encoding: chunked", "\tTransfer-Encoding: chunked",
		"Transfer-Encoding: xchunked", "Transfer-Encoding: chunkedx", "Transfer-Encoding: chunke", "Transfer-Encoding: cow",
		"Transfer-Encoding: ", "Transfer-Encoding:", "Transfer-Encoding: identity", "Transfer-Encoding: gzip",
		"Transfer-Encoding: chunked, identity", "Transfer-Encoding: identity, chunked", "Transfer-Encoding: gzip, chunked",
		"Transfer-Encoding: chunked, chunked", "Transfer-Encoding: chunked, gzip", "Transfer-Encoding: chunked,", "Transfer-Encoding: ,chunked",
		"Transfer-Encoding: chunked;", "Transfer-Encoding: chunked; q=1", "Transfer-Encoding: \"chunked\"", "Transfer-Encoding: 'chunked'",
		"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
		"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked", "Transfer-Encoding: cow\r\nTransfer-Encoding: chunked",
		"Transfer-Encoding: chunked\r\ntransfer-encoding: cow", "Transfer-Encoding:\r\n chunked", "Transfer-Encoding: chun\r\n ked",
		"Transfer-Encoding: \x0bchunked", "Transfer-Encoding: chunked\x0b", "Transfer-Encoding: \x0cchunked", "Transfer-Encoding: chunked\x00",
		"Transfer-Encoding: \x00chunked", "Transfer-Encoding: chunked\x7f", "Transfer-Encoding: \xa0chunked", "Transfer-Encoding: chun\xc4\xb5ed",
		"Transfer-Encoding: chunked\rX: y", "X: y\rTransfer-Encoding: chunked", "X: y\nTransfer-Encoding: chunked",
		"Transfer\x00-Encoding: chunked", "Transfer-Encoding\x00: chunked", "Transfer Encoding: chunked", "Transfer-Encoding chunked")

	// Lengths, before a body of five bytes.
	length := post + "@\r\n\r\nhello"
	add("length", length, whole, "Content-Length: 5", "content-length: 5", "Content-Length:5", "Content-Length:  5 ", "Content-Length: 05", "Content-Length: 0000000005")
	add("length", length, refusal,
		"Content-Length : 5", " Content-Length: 5", "Content-Length: +5", "Content-Length: -5", "Content-Length: -0", "Content-Length: 5,5", "Content-Length: 5, 5",
		"Content-Length: 5, 6", "Content-Length: 5;", "Content-Length: 5 5", "Content-Length: 0x5", "Content-Length: 5.0", "Content-Length: 5e0",
		"Content-Length: 5_0", "Content-Length: five", "Content-Length: ", "Content-Length:", "Content-Length: \"5\"", "Content-Length: \xef\xbc\x95",
		"Content-Length: 5\x00", "Content-Length: 5\x0b", "Content-Length: 18446744073709551621", "Content-Length: 9223372036854775808",
		"Content-Length: 99999999999999999999999999", "Content-Length: 5\r\nContent-Length: 5", "Content-Length: 5\r\nContent-Length: 6",
		"Content-Length: 0\r\nContent-Length: 5", "Content-Length: 5\r\ncontent-length: 0", "Content-Length:\r\n 5", "Content-Length: 5\r\n 0",
		"Content-Length: 0\rContent-Length: 5", "X: y\nContent-Length: 5", "Content-Length\x00: 5")

	// Both at once, in front of what one of the two readings makes a second request of.
	both := post + "@\r\n\r\n0\r\n\r\n" + smuggled
	add("both", both, refusal,
		"Content-Length: 5\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nContent-Length: 5",
		"Content-Length: 82\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nContent-Length: 82",
		"Content-Length: 0\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nContent-Length: 0",
		"Content-Length: 82\r\nTransfer-Encoding: cow", "Content-Length: 82\r\nTransfer-Encoding: identity",
		"Content-Length: 82\r\nTransfer-Encoding:\r\n chunked", "Content-Length: 82\r\nTransfer-Encoding : chunked",
		"Content-Length: 82\r\nTransfer-Encoding: xchunked", "Content-Length: 82\r\nX: y\nTransfer-Encoding: chunked",
		"Content-Length: 82\r\n Transfer-Encoding: chunked", "Content-Length: 82\r\nTransfer-Encoding: \x0bchunked")

	// Ends of lines.
	add("line ends", "@", refusal,
		"GET "+mirrorPath+"?a HTTP/1.1\nHost: gateway\n\n",
		"GET "+mirrorPath+"?a HTTP/1.1\r\nHost: gateway\n\r\n", "GET "+mirrorPath+"?a HTTP/1.1\r\nHost: gateway\r\n\n",
		"GET "+mirrorPath+"?a HTTP/1.1\rHost: gateway\r\r", "GET "+mirrorPath+"?a HTTP/1.1\r\nHost: gateway\rX: y\r\n\r\n",
		"GET "+mirrorPath+"?a HTTP/1.1\r\r\nHost: gateway\r\n\r\n", "GET "+mirrorPath+"?a HTTP/1.1\r\nHost: gateway\r\r\n\r\n",
		"GET "+mirrorPath+"?a HTTP/1.1\r\nHost: gateway\r\n\r\r\n", "GET "+mirrorPath+"?a HTTP/1.1\r\nHost: gateway\r\nX: y\n\n"+smuggled+"\r\n\r\n",
		"POST "+mirrorPath+"?a HTTP/1.1\r\nHost: gateway\r\nX: y\nContent-Length: 82\r\n\r\n"+smuggled, "\r"+get+"\r\n", " \r\n"+get+"\r\n", "\x00"+get+"\r\n")

	// RFC 9112 section 2.2 allows both, and neither moves the end of a request. net/http takes only the first.
	add("line ends", "@", lenient, "GET "+mirrorPath+"?a HTTP/1.1\nHost: gateway\r\n\r\n", "\n"+get+"\r\n", "\r\n"+get+"\r\n")

	// Lines of the head.
	line := get + "@\r\n\r\n"
	add("header", line, whole, "X: y", "X:y", "X:", "X: ", "x-under_score: y", "X: \"y\"", "X: y;z,w", "X: \xc3\xa4", "X~!#$%&'*+-.^_`|0: y", "X: y\tz", "Content-Length: 0")
	add("header", line, refusal,
		"X : y", "X\t: y", " X: y", "X: y\r\n z", "X: y\r\n\tz", ": y", " : y", "X", "X y", "X: y\x00z", "X\x00: y", "X: \x01", "X: y\x0bz", "X: y\x7f", "X\x7f: y",
		"(X): y", "X@Y: z", "X[]: y", "X\\: y", "X/Y: z", "X,Y: z", "\xc3\xa4: y", "X: y\rz", "X: y\r\rz", "X: y\nz", "\"X\": y", "{X}: y", "X;: y", "X=: y", "X<>: y", "X?: y")

	// Request lines.
	request := "@\r\nHost: gateway\r\n\r\n"
	add("request line", request, whole, "GET "+mirrorPath+"?a HTTP/1.1", "GET http://gateway"+mirrorPath+"?a HTTP/1.1", "GET "+mirrorPath+"?a&x=%20%0d%0a HTTP/1.1")
	add("request line", request, refusal,
		"GET "+mirrorPath+"?a", "GET "+mirrorPath+"?a HTTP/0.9", "GET "+mirrorPath+"?a HTTP/2.0", "GET "+mirrorPath+"?a HTTP/1.2", "GET "+mirrorPath+"?a HTTP/3.1", "GET "+mirrorPath+"?a http/1.1",
		"GET "+mirrorPath+"?a HTTP/1.1 ", "GET "+mirrorPath+"?a  HTTP/1.1", "GET  "+mirrorPath+"?a HTTP/1.1", "GET\t"+mirrorPath+"?a\tHTTP/1.1",
		" GET "+mirrorPath+"?a HTTP/1.1", "GET "+mirrorPath+"?a HTTP/1.1 HTTP/1.1", "GET "+mirrorPath+"?a HTTP/11", "GET "+mirrorPath+"?a HTTP/1.10", "GET "+mirrorPath+"?a HTTP/1,1",
		"GET "+mirrorPath+"?a HTTP /1.1", "GET "+mirrorPath+"?a b HTTP/1.1", "GET "+mirrorPath+"?a\x00 HTTP/1.1", "GET "+mirrorPath+"?a\x0b HTTP/1.1", "GET "+mirrorPath+"?a\x7f HTTP/1.1",
		"GET "+mirrorPath+"?a\rX HTTP/1.1", "G\x00T "+mirrorPath+"?a HTTP/1.1", "GE(T "+mirrorPath+"?a HTTP/1.1", "GET HTTP/1.1", "HTTP/1.1 200 OK", "PRI * HTTP/2.0", "GET v1/web/acme.mirror?a HTTP/1.1")

	// Hosts.
	host := "GET " + mirrorPath + "?a HTTP/1.1\r\n@\r\n\r\n"
	add("host", host, whole, "Host: gateway:80", "host: gateway")
	add("host", host, refusal, "Host: gateway\r\nHost: gateway", "Host: gateway\r\nHost: other", "Host: gate way", "Host: gateway\x00", "Host: gateway/x", "X: y", "Host : gateway", " Host: gateway", "Host: a,b c", "Host: user@gateway")

	// Chunks.
	chunk := post + "Transfer-Encoding: chunked\r\n\r\n@"
	add("chunk", chunk, last,
		"5\r\nhello\r\n0\r\n\r\n", "05\r\nhello\r\n0\r\n\r\n", "5\r\nhello\r\n00\r\n\r\n", "a\r\nhello12345\r\n0\r\n\r\n", "A\r\nhello12345\r\n0\r\n\r\n",
		"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", "0\r\n\r\n", "5\r\nhello\r\n0\r\nX: y\r\n\r\n", "5;a=b\r\nhello\r\n0\r\n\r\n",
		"5\r\nhello\r\n0\r\n\n", "5 \r\nhello\r\n0\r\n\r\n", "5;a\x00b\r\nhello\r\n0\r\n\r\n")
	add("chunk", chunk, lastHere, "5;"+strings.Repeat("x", 20<<10)+"\r\nhello\r\n0\r\n\r\n")
	add("chunk", chunk, refusal,
		"5\nhello\r\n0\r\n\r\n", "5\r\nhello\n0\r\n\r\n", "5\r\nhello\r\n0\n\r\n", "5\rhello\r\n0\r\n\r\n", "5\r\nhello\r0\r\n\r\n",
		"5\r\nhello0\r\n\r\n", "5\r\nhelloXX0\r\n\r\n", "5\r\nhell\r\n0\r\n\r\n", "4\r\nhello\r\n0\r\n\r\n", " 5\r\nhello\r\n0\r\n\r\n", "\t5\r\nhello\r\n0\r\n\r\n",
		"+5\r\nhello\r\n0\r\n\r\n", "-5\r\nhello\r\n0\r\n\r\n", "0x5\r\nhello\r\n0\r\n\r\n", "5h\r\nhello\r\n0\r\n\r\n", "5\x00\r\nhello\r\n0\r\n\r\n", "\r\nhello\r\n0\r\n\r\n", "5_0\r\nhello\r\n0\r\n\r\n",
		"5;\nhello\r\n0\r\n\r\n", "5;a\nb\r\nhello\r\n0\r\n\r\n", "5;a\rb\r\nhello\r\n0\r\n\r\n", "5;a=\"\nb\"\r\nhello\r\n0\r\n\r\n", "5\r\n\r\nhello\r\n0\r\n\r\n",
		"10000000000000005\r\nhello\r\n0\r\n\r\n", "fffffffffffffffb\r\nhello\r\n0\r\n\r\n", "ffffffffffffffff\r\nhello\r\n0\r\n\r\n", "80000000\r\nhello\r\n0\r\n\r\n", "100000005\r\nhello\r\n0\r\n\r\n",
		"00000000000000000000000000000000000000005\r\nhello\r\n0\r\n\r\n", "five\r\nhello\r\n0\r\n\r\n")
	// Bodies that end with their connection.
	cut := func(frame string, values ...string) {
		for _, v := range values {
			all = append(all, exchangeCase{"cut short: " + strings.Trim(fmt.Sprintf("%q", v), `"`), strings.ReplaceAll(frame, "@", v), ended})
		}
	}
	cut(chunk, "", "5", "5\r\n", "5\r\nhel", "5\r\nhello", "5\r\nhello\r\n", "5\r\nhello\r\n0", "5\r\nhello\r\n0\r\nX: y\r\n")
	cut(post+"Content-Length: 5\r\n\r\n@", "", "h", "hell")
	cut("@", get, post, "GET", "GET "+mirrorPath+"?a HTTP/1.1")

	add("cut short", chunk, lastHere, "5\r\nhello\r\n0\r\n") // all of the body is there

	// Trailers.
	trailer := post + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n@\r\n\r\n"
	add("trailer", trailer, refusal,
		"Content-Length: 5", "Transfer-Encoding: chunked", "Host: other", " X: y", "X\x00: y", "X: y\x00", "X", ": y")
	add("trailer", trailer, last, "X : y", "X: y\r\n z", "X: y\nZ: w", "X: y\n\nGET /x HTTP/1.1")

	// Several requests on one connection.
	add("pipeline", "@", whole,
		get+"\r\n"+"GET"+fmt.Sprintf(requestHead, "b")+"\r\n",
		post+"Content-Length: 5\r\n\r\nhello"+"GET"+fmt.Sprintf(requestHead, "b")+"\r\n",
		post+"Content-Length: 5\r\n\r\nhello"+"POST"+fmt.Sprintf(requestHead, "b")+"Content-Length: 3\r\n\r\nabc",
		get+"Content-Length: 5\r\n\r\nhello"+"GET"+fmt.Sprintf(requestHead, "b")+"\r\n")
	return all
}
