package demo

import (
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"io"
	"strings"

	"turnout/gateway/api"
	"turnout/gateway/store"
)

// staff are the people of files/shop.yaml: an agent and a supervisor.
var staff = []string{"robin", "olga"}

// person is one of them with a password that works once.
type person struct {
	id       string
	password string
}

// passwordBytes are the random bytes of a password: 80 bits, sixteen letters and digits.
const passwordBytes = 10

// passwords makes one for each of the staff.
func passwords(random io.Reader) (out []person, err error) {
	for _, id := range staff {
		var raw [passwordBytes]byte
		if _, err := io.ReadFull(random, raw[:]); err != nil {
			return nil, fmt.Errorf("reading randomness: %w", err)
		}
		text := strings.ToLower(base32.StdEncoding.EncodeToString(raw[:]))
		out = append(out, person{id, text[:4] + "-" + text[4:8] + "-" + text[8:12] + "-" + text[12:]})
	}
	return out, nil
}

func (p person) oneTime() api.OneTime {
	tenant, err := store.NewTenant("shop")
	if err != nil {
		panic("the name of the demo's tenant: " + err.Error())
	}
	return api.OneTime{Tenant: tenant, Account: p.id, SHA256: sha256.Sum256([]byte(p.password))}
}
