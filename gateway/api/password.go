package api

import (
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"

	"golang.org/x/crypto/argon2"
)

// Cost of a new hash: the first choice of OWASP for argon2id with 19 MiB.
const (
	hashMemory  = 19 << 10 // KiB
	hashTime    = 2
	hashThreads = 1
	hashBytes   = 32
	saltBytes   = 16
)

// Bounds of what a hash in the configuration may ask for, so that a slip there cannot take the node's memory.
const (
	maxHashMemory  = 256 << 10
	maxHashTime    = 16
	maxHashThreads = 16
)

const (
	minPassword = 8
	maxPassword = 1024
)

var errPHC = errors.New("the password is no argon2id hash of version 19 within the limits; make one with turnout admin password")

// phc is a parsed hash in PHC form: "$argon2id$v=19$m=19456,t=2,p=1$salt$hash".
type phc struct {
	memory, time uint32
	threads      uint8
	salt, hash   []byte
}

// HashPassword returns the hash of a password in PHC form.
func HashPassword(random io.Reader, password string) (string, error) {
	if len(password) < minPassword || len(password) > maxPassword {
		return "", fmt.Errorf("a password has %d to %d bytes", minPassword, maxPassword)
	}
	salt := make([]byte, saltBytes)
	if _, err := io.ReadFull(random, salt); err != nil {
		return "", fmt.Errorf("reading randomness: %w", err)
	}
	hash := argon2.IDKey([]byte(password), salt, hashTime, hashMemory, hashThreads, hashBytes)
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, hashMemory, hashTime, hashThreads,
		b64.EncodeToString(salt), b64.EncodeToString(hash)), nil
}

func parsePHC(s string) (p phc, err error) {
	fields := strings.Split(s, "$")
	if len(fields) != 6 || fields[0] != "" || fields[1] != "argon2id" || fields[2] != "v=19" {
		return phc{}, errPHC
	}
	if n, err := fmt.Sscanf(fields[3], "m=%d,t=%d,p=%d", &p.memory, &p.time, &p.threads); err != nil || n != 3 {
		return phc{}, errPHC
	}
	var errSalt, errHash error
	p.salt, errSalt = base64.RawStdEncoding.DecodeString(fields[4])
	p.hash, errHash = base64.RawStdEncoding.DecodeString(fields[5])
	switch {
	case errSalt != nil || errHash != nil || len(p.salt) < 8 || len(p.salt) > 64 || len(p.hash) < 16 || len(p.hash) > 64,
		p.memory < 8 || p.memory > maxHashMemory, p.time < 1 || p.time > maxHashTime, p.threads < 1 || p.threads > maxHashThreads:
		return phc{}, errPHC
	}
	return p, nil
}

// verify compares a password in constant time.
func (p phc) verify(password string) bool {
	got := argon2.IDKey([]byte(password), p.salt, p.time, p.memory, p.threads, uint32(len(p.hash)))
	return subtle.ConstantTimeCompare(got, p.hash) == 1
}
