package openai

import (
	"bytes"
	"errors"
	"io"

	"turnout/adapters"
	"turnout/adapters/wire/openai"
)

const pieceBytes = 16 << 10

// read reads a whole reply, streamed or not; beside an error it returns what came of it, to be counted. What it is, its first bytes say: servers name either as anything, and some answer
// whole although a stream was asked for.
func (c *call) read(body io.Reader) (openai.Reply, error) {
	var stream openai.Stream
	var whole []byte
	kind := unknown
	soFar := func() openai.Reply {
		if kind == streamed {
			return stream.SoFar()
		}
		return openai.Reply{Text: string(whole)}
	}
	piece := make([]byte, pieceBytes)
	for size := 0; ; {
		n, err := body.Read(piece)
		c.idle.Reset(c.bot.cfg.Idle)
		if size += n; size > c.bot.cfg.MaxResponse {
			return soFar(), &adapters.BotError{Kind: adapters.BotTooLarge, Err: errors.New("the response is over the limit")}
		}
		c.keep(piece[:n])
		if kind != streamed {
			whole = append(whole, piece[:n]...)
		}
		switch {
		case kind == unknown:
			if kind = kindOf(whole, err == io.EOF); kind == neither {
				return soFar(), garbage("the response is neither JSON nor an event stream")
			}
			if kind == streamed {
				if err := stream.Feed(whole); err != nil {
					return soFar(), err
				}
			}
		case kind == streamed:
			if err := stream.Feed(piece[:n]); err != nil {
				return soFar(), err
			}
		}
		switch {
		case stream.Done():
			if err == nil {
				c.drain(body)
			}
			return orSoFar(soFar, stream.Reply)
		case err == io.EOF && kind == streamed:
			return orSoFar(soFar, stream.Reply)
		case err == io.EOF:
			return orSoFar(soFar, func() (openai.Reply, error) {
				return openai.DecodeReply(bytes.TrimPrefix(whole, byteOrderMark))
			})
		case err != nil && kind == streamed:
			// The server has said how the answer ends: what broke after that is not the answer.
			if r, errCut := stream.Reply(); errCut == nil {
				return r, nil
			}
			return soFar(), err
		case err != nil:
			return soFar(), err
		}
	}
}

// orSoFar returns a reply, or beside its error what came of it.
func orSoFar(soFar func() openai.Reply, reply func() (openai.Reply, error)) (openai.Reply, error) {
	r, err := reply()
	if err != nil {
		r = soFar()
	}
	return r, err
}

func (c *call) keep(b []byte) {
	c.raw = append(c.raw, b[:min(len(b), rawBytes-len(c.raw))]...)
}

// drain reads the end of a response whose answer is there.
func (c *call) drain(body io.Reader) {
	c.idle.Reset(drain)
	_, _ = io.Copy(io.Discard, io.LimitReader(body, rawBytes))
}

var byteOrderMark = []byte("\xef\xbb\xbf")

type kind int

const (
	unknown kind = iota
	complete
	streamed
	neither
)

// kindOf says what a response is that begins with b; end says that there is no more.
func kindOf(b []byte, end bool) kind {
	b = bytes.TrimLeft(bytes.TrimPrefix(b, byteOrderMark), " \t\r\n")
	if len(b) == 0 {
		if end {
			return neither
		}
		return unknown
	}
	if b[0] == '{' || b[0] == '[' {
		return complete
	}
	for _, field := range []string{"data", "event", ":", "id", "retry"} {
		switch {
		case bytes.HasPrefix(b, []byte(field)):
			return streamed
		case !end && bytes.HasPrefix([]byte(field), b):
			return unknown
		}
	}
	return neither
}
