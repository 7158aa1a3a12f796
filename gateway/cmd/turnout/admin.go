package main

import (
	"bufio"
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"turnout/gateway/api"
	"turnout/gateway/keys"
)

type adminCmd struct {
	Init initCmd `cmd:"" help:"Write a root key and an audit key into DATA/keys."`
	Key  keyCmd  `cmd:"" help:"Make an API key. It is printed once; the configuration gets its digest."`

	Status    statusCmd    `cmd:"" help:"Tell how a running node is."`
	Reload    reloadCmd    `cmd:"" help:"Let a running node read its files again: all that they say, or nothing."`
	Tenants   tenantsCmd   `cmd:"" help:"List, make and remove tenants of a running node."`
	Users     usersCmd     `cmd:"" help:"List and make people and programs of a tenant, shut them out, give them passwords."`
	Keys      keysCmd      `cmd:"" help:"Make, rotate and revoke API keys of a running node."`
	Secrets   secretsCmd   `cmd:"" help:"List, set and remove secrets that the store keeps sealed."`
	Resources resourcesCmd `cmd:"" help:"List, apply and remove resources that no file has."`
	Versions  versionsCmd  `cmd:"" help:"List the versions of a tenant's configuration."`
	Password  passwordCmd  `cmd:"" help:"Hash a password from standard input for the configuration."`
}

type initCmd struct {
	Data string `arg:"" help:"The data folder of the settings file."`
}

func (c *initCmd) Run() error {
	dir := filepath.Join(c.Data, "keys")
	var verifier string
	for _, name := range keys.Names {
		v, err := keys.Make(dir, name, rand.Reader)
		if err != nil {
			return err
		}
		fmt.Println("wrote", filepath.Join(dir, name))
		verifier = cmp.Or(v, verifier)
	}
	fmt.Println("verifier's key of the audit log:", verifier)
	fmt.Fprintln(os.Stderr, "Give the verifier's key to whoever is to verify the audit log. It is no secret.")
	fmt.Fprintln(os.Stderr, "Keep a copy of root.key in a safe place of its own: without it the data cannot be read, and a backup of the data does not hold it.")
	return nil
}

type keyCmd struct {
	ID string `arg:"" help:"What the key is called in the configuration and the audit log."`
}

func (c *keyCmd) Run() error {
	key, digest, err := api.NewKey(rand.Reader, c.ID)
	if err != nil {
		return err
	}
	fmt.Printf("key:    %s\nsha256: %s\n", key, digest)
	return nil
}

type passwordCmd struct{}

func (c *passwordCmd) Run() error {
	password, err := readSecret("the password")
	if err != nil {
		return err
	}
	hash, err := api.HashPassword(rand.Reader, password)
	if err != nil {
		return err
	}
	fmt.Println(hash)
	return nil
}

// readSecret reads a secret from the first line of standard input.
func readSecret(what string) (string, error) {
	line, err := bufio.NewReader(os.Stdin).ReadString('\n')
	line = strings.TrimRight(line, "\r\n")
	if line == "" {
		return "", fmt.Errorf("reading %s from standard input: %w", what, cmp.Or(err, errors.New("the line is empty")))
	}
	if !utf8.ValidString(line) { // JSON would replace what is none
		return "", fmt.Errorf("reading %s from standard input: it is not UTF-8 text; write keys of bytes in base64 or hex", what)
	}
	return line, nil
}
