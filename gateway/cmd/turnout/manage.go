package main

import (
	"context"

	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"time"

	"github.com/goccy/go-yaml"
)

// output is how a command prints what a node answers.
type output struct {
	nodeFlags
	JSON bool `name:"json" help:"Print what the node answers, as JSON."`
}

type reloadCmd struct{ output }

func (c *reloadCmd) Run(ctx context.Context) error {
	return c.show(ctx, true, "POST", "/v1/admin/reload", nil)
}

type tenantsCmd struct {
	List   listTenantsCmd  `cmd:"" default:"withargs" help:"List them."`
	Create createTenantCmd `cmd:"" help:"Make one."`
	Remove removeTenantCmd `cmd:"" help:"Take one out of service. What it has in the store stays."`
}

type listTenantsCmd struct{ output }

func (c *listTenantsCmd) Run(ctx context.Context) error {
	return c.rows(ctx, c.JSON, "/v1/admin/tenants", "name", "title", "version", "file", "removed")
}

type createTenantCmd struct {
	output
	Name  string `arg:"" help:"What it is called in the configuration, for ever: a-z, 0-9 and hyphens."`
	Title string `help:"The name that people see."`
}

func (c *createTenantCmd) Run(ctx context.Context) error {
	return c.show(ctx, c.JSON, "POST", "/v1/admin/tenants", map[string]string{"name": c.Name, "title": c.Title})
}

type removeTenantCmd struct {
	output
	Name string `arg:""`
}

func (c *removeTenantCmd) Run(ctx context.Context) error {
	return c.show(ctx, c.JSON, "DELETE", "/v1/admin/tenants/"+url.PathEscape(c.Name), nil)
}

type usersCmd struct {
	List     listUsersCmd    `cmd:"" default:"withargs" help:"List them."`
	Create   createUserCmd   `cmd:"" help:"Make somebody. A password that was made is printed once."`
	Disable  disableUserCmd  `cmd:"" help:"Shut somebody out."`
	Enable   enableUserCmd   `cmd:"" help:"Let somebody in again."`
	Password userPasswordCmd `cmd:"" help:"Give somebody another password: a new one that is printed once, or one from standard input."`
}

type listUsersCmd struct{ output }

func (c *listUsersCmd) Run(ctx context.Context) error {
	return c.rows(ctx, c.JSON, "/v1/admin/users", "id", "name", "role", "queues", "keys", "disabled", "file")
}

type createUserCmd struct {
	output
	ID         string   `arg:"" help:"What they are called in the log and the audit chain, for ever."`
	Name       string   `help:"What customers and colleagues see."`
	Login      string   `help:"For signing in; the ID by default."`
	Role       string   `default:"agent" help:"owner, admin, author, reviewer, supervisor, agent, auditor or integration."`
	Queues     []string `help:"The queues that they work in, by commas; '*' for all."`
	Capacity   *int     `help:"How many conversations at a time."`
	NoPassword bool     `help:"For what signs in by key only."`
	Stdin      bool     `name:"password-stdin" help:"Read the password from standard input."`
}

func (c *createUserCmd) Run(ctx context.Context) error {
	body := map[string]any{
		"id": c.ID, "name": c.Name, "login": c.Login, "role": c.Role, "queues": c.Queues, "capacity": c.Capacity, "no_password": c.NoPassword,
	}
	if c.Stdin {
		password, err := readSecret("the password")
		if err != nil {
			return err
		}
		body["password"] = password
	}
	return c.show(ctx, c.JSON, "POST", "/v1/admin/users", body)
}

type userCmd struct {
	output
	ID string `arg:""`
}

func (c *userCmd) path(rest string) string { return "/v1/admin/users/" + url.PathEscape(c.ID) + rest }

type disableUserCmd struct{ userCmd }

func (c *disableUserCmd) Run(ctx context.Context) error {
	return c.show(ctx, c.JSON, "POST", c.path("/disable"), nil)
}

type enableUserCmd struct{ userCmd }

func (c *enableUserCmd) Run(ctx context.Context) error {
	return c.show(ctx, c.JSON, "POST", c.path("/enable"), nil)
}

type userPasswordCmd struct {
	userCmd
	Stdin bool `name:"password-stdin" help:"Read the password from standard input."`
}

func (c *userPasswordCmd) Run(ctx context.Context) error {
	body := map[string]string{}
	if c.Stdin {
		password, err := readSecret("the password")
		if err != nil {
			return err
		}
		body["password"] = password
	}
	return c.show(ctx, c.JSON, "POST", c.path("/password"), body)
}

type keysCmd struct {
	Create createKeyCmd `cmd:"" help:"Make a key. It is printed once."`
	Rotate rotateKeyCmd `cmd:"" help:"Give a key another secret. It is printed once."`
	Revoke revokeKeyCmd `cmd:"" help:"End a key."`
}

type keyOfCmd struct {
	userCmd
	Key string `arg:"" name:"key-id" help:"What the key is called."`
}

type createKeyCmd struct {
	keyOfCmd
	Expires *time.Time `format:"2006-01-02" help:"The day on which it ends."`
	Scopes  []string   `help:"What the key of an integration may do, by commas."`
}

func (c *createKeyCmd) Run(ctx context.Context) error {
	body := map[string]any{"id": c.Key, "expires": c.Expires, "scopes": c.Scopes}
	return c.show(ctx, c.JSON, "POST", c.path("/keys"), body)
}

type rotateKeyCmd struct {
	keyOfCmd
	Overlap time.Duration `help:"For how long the old secret goes on to work."`
}

func (c *rotateKeyCmd) Run(ctx context.Context) error {
	body := map[string]int{"overlap": int(c.Overlap.Seconds())}
	return c.show(ctx, c.JSON, "POST", c.path("/keys/"+url.PathEscape(c.Key)+"/rotate"), body)
}

type revokeKeyCmd struct{ keyOfCmd }

func (c *revokeKeyCmd) Run(ctx context.Context) error {
	return c.show(ctx, c.JSON, "DELETE", c.path("/keys/"+url.PathEscape(c.Key)), nil)
}

type secretsCmd struct {
	List   listSecretsCmd  `cmd:"" default:"withargs" help:"List their names. Values are never shown."`
	Set    setSecretCmd    `cmd:"" help:"Set one, or rotate it, to a line from standard input."`
	Remove removeSecretCmd `cmd:"" help:"Remove one that nothing uses."`
}

type listSecretsCmd struct{ output }

func (c *listSecretsCmd) Run(ctx context.Context) error {
	return c.rows(ctx, c.JSON, "/v1/admin/secrets", "name", "version", "at", "by", "used_by")
}

type secretCmd struct {
	output
	Name string `arg:"" help:"The configuration refers to it as sealed:NAME."`
}

func (c *secretCmd) path() string { return "/v1/admin/secrets/" + url.PathEscape(c.Name) }

type setSecretCmd struct{ secretCmd }

func (c *setSecretCmd) Run(ctx context.Context) error {
	value, err := readSecret("the secret")
	if err != nil {
		return err
	}
	return c.show(ctx, c.JSON, "PUT", c.path(), map[string]string{"value": value})
}

type removeSecretCmd struct{ secretCmd }

func (c *removeSecretCmd) Run(ctx context.Context) error {
	return c.show(ctx, c.JSON, "DELETE", c.path(), nil)
}

type resourcesCmd struct {
	List   listResourcesCmd  `cmd:"" default:"withargs" help:"List them, with the file that has each."`
	Apply  applyCmd          `cmd:"" help:"Put the resources of a file in force, all of them or none."`
	Remove removeResourceCmd `cmd:"" help:"Remove one."`
}

type listResourcesCmd struct{ output }

func (c *listResourcesCmd) Run(ctx context.Context) error {
	return c.rows(ctx, c.JSON, "/v1/admin/resources", "kind", "name", "file")
}

type applyCmd struct {
	output
	File string `arg:"" type:"existingfile" help:"Documents in the form of a resource file."`
}

// applied is one document of a resource file, as the API takes it.
type applied struct {
	Kind   string `yaml:"kind" json:"kind"`
	Name   string `yaml:"name" json:"name"`
	Tenant string `yaml:"tenant" json:"-"`
	Spec   any    `yaml:"spec" json:"spec"`
}

func (c *applyCmd) Run(ctx context.Context) error {
	f, err := os.Open(c.File)
	if err != nil {
		return err
	}
	defer f.Close()
	var list []applied
	d := yaml.NewDecoder(f, yaml.Strict())
	for {
		var one applied
		if err := d.Decode(&one); err != nil {
			if errors.Is(err, io.EOF) {
				break
			}
			return fmt.Errorf("reading %s: %w", c.File, err)
		}
		switch {
		case one.Kind == "":
			continue
		case one.Tenant != "" && c.Tenant != "" && one.Tenant != c.Tenant:
			return fmt.Errorf("%s has resources of the tenants %s and %s; apply those of one at a time", c.File, c.Tenant, one.Tenant)
		case one.Tenant != "":
			c.Tenant = one.Tenant
		}
		list = append(list, one)
	}
	return c.show(ctx, true, "POST", "/v1/admin/resources", map[string]any{"resources": list})
}

type removeResourceCmd struct {
	output
	Kind string `arg:""`
	Name string `arg:""`
}

func (c *removeResourceCmd) Run(ctx context.Context) error {
	return c.show(ctx, true, "DELETE", "/v1/admin/resources/"+url.PathEscape(c.Kind)+"/"+url.PathEscape(c.Name), nil)
}

type versionsCmd struct{ output }

func (c *versionsCmd) Run(ctx context.Context) error {
	return c.rows(ctx, c.JSON, "/v1/admin/versions", "version", "at", "by", "added", "changed", "removed")
}
