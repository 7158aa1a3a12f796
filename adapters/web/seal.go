package web

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"hash"
	"sync"
)

// maxTokenChars is the longest token that is looked at.
const maxTokenChars = 1024

// strictBase64 takes one text only for every body.
var strictBase64 = base64.RawURLEncoding.Strict()

// sealer signs bodies and checks them, with one key: base64url(body) "." base64url(HMAC-SHA256(key, body)). It is safe
// for concurrent use.
type sealer struct{ states sync.Pool }

func newSealer(key []byte) *sealer {
	return &sealer{states: sync.Pool{New: func() any { return &sealState{mac: hmac.New(sha256.New, key)} }}}
}

// sealState is the working memory of one signature, reused: to set up a keyed hash costs more than to use it.
type sealState struct {
	mac   hash.Hash
	sum   [sha256.Size]byte
	given [maxTokenChars]byte
	body  [maxTokenChars]byte
}

func (s *sealer) get() *sealState { return s.states.Get().(*sealState) }

func (s *sealer) put(st *sealState) { s.states.Put(st) }

func (s *sealer) seal(body []byte) string {
	st := s.get()
	defer s.put(st)
	return base64.RawURLEncoding.EncodeToString(body) + "." + base64.RawURLEncoding.EncodeToString(st.sign(body))
}

func (st *sealState) sign(body []byte) []byte {
	st.mac.Reset()
	st.mac.Write(body)
	return st.mac.Sum(st.sum[:0])
}

// unseal returns the body of what seal made, and false for anything else. The body is part of st.
func (st *sealState) unseal(sealed []byte) ([]byte, bool) {
	head, tail, ok := bytes.Cut(sealed, []byte{'.'})
	if !ok || len(sealed) > maxTokenChars {
		return nil, false
	}
	n, err := strictBase64.Decode(st.body[:], head)
	if err != nil {
		return nil, false
	}
	m, err := strictBase64.Decode(st.given[:], tail)
	if err != nil {
		return nil, false
	}
	return st.body[:n], hmac.Equal(st.given[:m], st.sign(st.body[:n]))
}
