package web

import (
	"errors"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"turnout/adapters"
	"turnout/adapters/message"
)

const (
	maxIdentityChars  = 8 << 10
	maxIdentityFields = 32
	identityLeeway    = time.Minute
	minIdentityKey    = 32
)

var errIdentity = errors.New("the identity is not valid")

// identity verifies the statements of the tenant's site about its users.
type identity struct {
	key    []byte
	parser *jwt.Parser
}

func newIdentity(cfg IdentityConfig, d adapters.Deps) (*identity, error) {
	secret, err := d.Secret(cfg.Secret)
	if err != nil {
		return nil, fmt.Errorf("identity.secret: %w", err)
	}
	if len(secret.Reveal()) < minIdentityKey {
		return nil, fmt.Errorf("identity.secret: is shorter than %d bytes; make one with: openssl rand -hex 32", minIdentityKey)
	}
	options := []jwt.ParserOption{
		jwt.WithValidMethods([]string{"HS256"}),
		jwt.WithExpirationRequired(),
		jwt.WithIssuedAt(),
		jwt.WithLeeway(identityLeeway),
		jwt.WithTimeFunc(d.Now),
	}
	if cfg.Audience != "" {
		options = append(options, jwt.WithAudience(cfg.Audience))
	}
	return &identity{key: []byte(secret.Reveal()), parser: jwt.NewParser(options...)}, nil
}

type claims struct {
	jwt.RegisteredClaims
	Name   string         `json:"name"`
	Email  string         `json:"email"`
	Phone  string         `json:"phone"`
	Level  string         `json:"level"`
	Fields map[string]any `json:"fields"`
}

// verify returns the profile that a statement proves, or errIdentity: which part of it is wrong is not told.
func (i *identity) verify(statement string) (message.Profile, error) {
	if len(statement) > maxIdentityChars {
		return message.Profile{}, errIdentity
	}
	var c claims
	_, err := i.parser.ParseWithClaims(statement, &c, func(*jwt.Token) (any, error) { return i.key, nil })
	if err != nil || c.Subject == "" || len(c.Subject) > maxSubject || len(c.Fields) > maxIdentityFields {
		return message.Profile{}, errIdentity
	}
	for _, v := range c.Fields {
		switch v.(type) {
		case string, float64, bool:
		default:
			return message.Profile{}, errIdentity
		}
	}
	return message.Profile{
		Subject: c.Subject, Name: c.Name, Email: c.Email, Phone: c.Phone, Level: c.Level, Fields: c.Fields,
	}, nil
}
