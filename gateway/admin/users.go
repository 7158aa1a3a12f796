package admin

import (
	"encoding/base32"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"time"

	"turnout/adapters"
	"turnout/gateway/api"
	"turnout/gateway/config"
	"turnout/gateway/resource"
	"turnout/gateway/store"
)

// passwordPrefix begins the names of the sealed secrets that hold hashes of passwords.
const passwordPrefix = "password-"

// Users returns the routes of a tenant's people and programs: resources of kind agent, with their passwords and keys. What
// is secret is in the answer that made it, once, and nowhere else.
func Users(node Node, v Vault, versions store.Versions, now func() time.Time, random io.Reader) []api.Route {
	u := &userRoutes{node, v, versions, now, random}
	row := func(method, path string, h api.Handler) api.Route {
		return api.Route{Method: method, Path: "/v1/admin/users" + path, Access: api.People, Roles: changers, Handle: h}
	}
	return []api.Route{
		row("GET", "", u.list),
		row("POST", "", u.create),
		row("POST", "/{id}/disable", u.disable(true)),
		row("POST", "/{id}/enable", u.disable(false)),
		row("POST", "/{id}/password", u.password),
		row("POST", "/{id}/keys", u.addKey),
		row("POST", "/{id}/keys/{key}/rotate", u.rotateKey),
		row("DELETE", "/{id}/keys/{key}", u.removeKey),
	}
}

type userRoutes struct {
	node     Node
	vault    Vault
	versions store.Versions
	now      func() time.Time
	random   io.Reader
}

// userSpec is the spec of an agent as these routes write it. Its fields are those of config.Agent.
type userSpec struct {
	Name     string    `json:"name,omitempty"`
	Login    string    `json:"login,omitempty"`
	Password string    `json:"password,omitempty"`
	Keys     []userKey `json:"keys,omitempty"`
	Role     string    `json:"role,omitempty"`
	Queues   []string  `json:"queues,omitempty"`
	Capacity *int      `json:"capacity,omitempty"`
	Disabled bool      `json:"disabled,omitempty"`
}

type userKey struct {
	ID      string   `json:"id"`
	SHA256  string   `json:"sha256"`
	Expires *keyEnd  `json:"expires,omitempty"`
	Scopes  []string `json:"scopes,omitempty"`
}

// keyEnd is when a key ends, as a configuration may write it: an instant, or a day, which is the beginning of that day.
type keyEnd struct{ time.Time }

// UnmarshalJSON implements json.Unmarshaler.
func (e *keyEnd) UnmarshalJSON(b []byte) error {
	var text string
	if err := json.Unmarshal(b, &text); err != nil {
		return err
	}
	var err error
	for _, form := range []string{time.RFC3339, time.DateOnly} {
		if e.Time, err = time.Parse(form, text); err == nil {
			return nil
		}
	}
	return err
}

// keyEndOf returns when a key ends, nil for never.
func keyEndOf(t *time.Time) *keyEnd {
	if t == nil {
		return nil
	}
	return &keyEnd{*t}
}

// instant returns when a key ends, nil for never.
func (e *keyEnd) instant() *time.Time {
	if e == nil {
		return nil
	}
	return &e.Time
}

// userInfo is somebody as the routes show them.
type userInfo struct {
	ID       string    `json:"id"`
	Name     string    `json:"name,omitempty"`
	Login    string    `json:"login,omitempty"`
	Role     string    `json:"role"`
	Queues   []string  `json:"queues,omitempty"`
	Disabled bool      `json:"disabled,omitempty"`
	Password bool      `json:"password"` // there is one
	Keys     []keyInfo `json:"keys,omitempty"`
	// File is the file that has them, where it is one.
	File string `json:"file,omitempty"`
}

type keyInfo struct {
	ID      string     `json:"id"`
	Expires *time.Time `json:"expires,omitempty"`
	Scopes  []string   `json:"scopes,omitempty"`
}

func userOf(r config.Resource) userInfo {
	var spec struct {
		userSpec
		Keys []json.RawMessage `json:"keys"`
	}
	_ = json.Unmarshal(r.Spec, &spec) // a set that is in force was read before
	out := userInfo{
		ID: r.Name, Name: spec.Name, Login: spec.Login, Role: spec.Role, Queues: spec.Queues, Disabled: spec.Disabled,
		Password: spec.Password != "", File: r.File,
	}
	if out.Role == "" {
		out.Role = string(config.RoleAgent)
	}
	for _, raw := range spec.Keys {
		var k userKey
		_ = json.Unmarshal(raw, &k)
		out.Keys = append(out.Keys, keyInfo{ID: k.ID, Expires: k.Expires.instant(), Scopes: k.Scopes})
	}
	return out
}

type userList struct {
	Items  []userInfo `json:"items"`
	Cursor string     `json:"cursor,omitempty"`
}

func (u *userRoutes) list(call *api.Call) (any, error) {
	v, err := resource.Current(call.Context(), u.versions, call.Tenant())
	if err != nil {
		return nil, err
	}
	agents := slices.DeleteFunc(slices.Clone(v.Set.Resources), func(r config.Resource) bool { return r.Kind != "agent" })
	page, next, err := api.Page(call, agents, func(r config.Resource) string { return r.Name })
	if err != nil {
		return nil, err
	}
	out := userList{Items: make([]userInfo, len(page)), Cursor: next}
	for i, r := range page {
		out.Items[i] = userOf(r)
	}
	return out, nil
}

// userBody is the body that makes somebody.
type userBody struct {
	ID       string   `json:"id"`
	Name     string   `json:"name"`
	Login    string   `json:"login"`
	Role     string   `json:"role"`
	Queues   []string `json:"queues"`
	Capacity *int     `json:"capacity"`
	// Password is the first one; empty: one is made and is in the answer. NoPassword: there is none, for what has keys.
	Password   string `json:"password"`
	NoPassword bool   `json:"no_password"`
}

// userMade is somebody new, with what is shown only now.
type userMade struct {
	userInfo
	OneTime string `json:"one_time_password,omitempty"`
}

// Kept implements api.Kept.
func (m userMade) Kept() any { return m.userInfo }

func (u *userRoutes) create(call *api.Call) (any, error) {
	var body userBody
	if err := call.Decode(&body); err != nil {
		return nil, err
	}
	if !config.SealedForm.MatchString(body.ID) || len(passwordPrefix+body.ID) > 40 {
		return nil, api.Refuse("bad_request", "id is 1 to 31 lower-case letters, digits and hyphens; it stays the same for ever.")
	}
	spec := userSpec{Name: body.Name, Login: body.Login, Role: body.Role, Queues: body.Queues, Capacity: body.Capacity}
	var made userMade
	var r config.Resource
	back := func() error { return nil }
	_, err := change(call, u.node, func(s resource.Set) (_ resource.Set, err error) {
		if _, there := s.Find("agent", body.ID); there {
			return s, errExists
		}
		if !body.NoPassword {
			spec.Password = "sealed:" + passwordPrefix + body.ID
		}
		if r, err = agentOf(body.ID, spec); err != nil {
			return s, err
		}
		if s, err = put(call, s, r); err != nil || body.NoPassword {
			return s, err
		}
		// Last, and under the change: nothing is sealed for whom there is already.
		made.OneTime, back, err = u.setPassword(call, s, body.ID, body.Password)
		return s, err
	})
	if err != nil {
		return nil, errors.Join(err, back())
	}
	made.userInfo = userOf(r)
	return made, nil
}

// setPassword seals the hash of a password, and returns the password if it made it. back, never nil, gives the secret the
// value that it had before, if the change that it is part of comes to nothing. One that had none keeps the new one: nobody
// signs in by it, and a change of which nobody knows whether it is in the store would otherwise refer to nothing.
func (u *userRoutes) setPassword(call *api.Call, s resource.Set, id, password string) (made string, back func() error, err error) {
	back = func() error { return nil }
	name := passwordPrefix + id
	if call.Role() != api.RoleOwner && ofOwner(s, name) {
		return "", back, errOwners
	}
	if password == "" {
		var random [15]byte
		if _, err := io.ReadFull(u.random, random[:]); err != nil {
			return "", back, err
		}
		password = strings.ToLower(base32.StdEncoding.EncodeToString(random[:]))
		made = password
	}
	hash, err := api.HashPassword(u.random, password)
	if err != nil {
		return "", back, api.Refuse("bad_request", "A password has 8 to 1024 bytes.")
	}
	before, err := u.vault.Read(call.Context(), call.Tenant())
	if err != nil {
		return "", back, err
	}
	if _, err := before.Get(name); err == nil {
		back = func() error { return restore(call, u.vault, name, before, u.now()) }
	}
	_, err = u.vault.Put(call.Context(), call.Tenant(), name, adapters.NewSecret(hash), call.Actor(), u.now().UnixMilli())
	return made, back, err
}

func agentOf(id string, spec userSpec) (config.Resource, error) {
	b, err := json.Marshal(spec)
	return config.Resource{Kind: "agent", Name: id, Spec: b}, err
}

// edit changes the spec of somebody that no file has.
func (u *userRoutes) edit(call *api.Call, do func(resource.Set, *userSpec) error) (userInfo, error) {
	id := call.Param("id")
	var r config.Resource
	_, err := change(call, u.node, func(s resource.Set) (resource.Set, error) {
		old, there := s.Find("agent", id)
		switch {
		case !there:
			return s, store.ErrNotFound
		case old.File != "":
			return s, &resource.FileError{Kind: "agent", Name: id, File: old.File}
		}
		if err := mayChange(call, s, "agent", id, nil); err != nil {
			return s, err
		}
		var spec userSpec
		if err := json.Unmarshal(old.Spec, &spec); err != nil {
			return s, err
		}
		err := do(s, &spec)
		if err != nil {
			return s, err
		}
		if r, err = agentOf(id, spec); err != nil {
			return s, err
		}
		return put(call, s, r)
	})
	return userOf(r), err
}

func (u *userRoutes) disable(off bool) api.Handler {
	return func(call *api.Call) (any, error) {
		return u.edit(call, func(_ resource.Set, s *userSpec) error {
			s.Disabled = off
			return nil
		})
	}
}

// passwordBody is the body that sets a password.
type passwordBody struct {
	// Password is the new one; empty: one is made and is in the answer.
	Password string `json:"password"`
}

// password sets a password. Sessions that began with the old one end.
func (u *userRoutes) password(call *api.Call) (any, error) {
	var body passwordBody
	if err := call.Decode(&body); err != nil {
		return nil, err
	}
	var made userMade
	var err error
	back := func() error { return nil }
	made.userInfo, err = u.edit(call, func(set resource.Set, s *userSpec) (err error) {
		made.OneTime, back, err = u.setPassword(call, set, call.Param("id"), body.Password)
		s.Password = "sealed:" + passwordPrefix + call.Param("id")
		return err
	})
	if err != nil {
		return nil, errors.Join(err, back())
	}
	return made, nil
}

// keyBody is the body that makes a key.
type keyBody struct {
	ID      string     `json:"id"`
	Expires *time.Time `json:"expires"`
	Scopes  []string   `json:"scopes"`
}

// keyMade is a new key. Key is shown only now.
type keyMade struct {
	keyInfo
	Key string `json:"key"`
}

// Kept implements api.Kept.
func (m keyMade) Kept() any { return m.keyInfo }

func (u *userRoutes) addKey(call *api.Call) (any, error) {
	var body keyBody
	if err := call.Decode(&body); err != nil {
		return nil, err
	}
	key, digest, err := api.NewKey(u.random, body.ID)
	if err != nil || strings.HasSuffix(body.ID, api.OldKey) {
		return nil, api.Refuse("bad_request", "id is 1 to 64 letters, digits, - and _, and does not end in -old; the audit log names the key by it.")
	}
	_, err = u.edit(call, func(_ resource.Set, s *userSpec) error {
		if slices.ContainsFunc(s.Keys, func(k userKey) bool { return k.ID == body.ID }) {
			return errExists
		}
		s.Keys = append(s.Keys, userKey{ID: body.ID, SHA256: digest, Expires: keyEndOf(body.Expires), Scopes: body.Scopes})
		return nil
	})
	if err != nil {
		return nil, err
	}
	return keyMade{keyInfo(body), key}, nil
}

// rotateBody is the body that rotates a key.
type rotateBody struct {
	// Overlap is for how many seconds the old key goes on to work; at most 30 days.
	Overlap int `json:"overlap"`
}

const maxOverlap = 30 * 24 * 60 * 60

// rotateKey gives a key another secret. With an overlap the old one lives on under the key's name and api.OldKey.
func (u *userRoutes) rotateKey(call *api.Call) (any, error) {
	var body rotateBody
	if err := call.Decode(&body); err != nil {
		return nil, err
	}
	if body.Overlap < 0 || body.Overlap > maxOverlap {
		return nil, api.Refuse("bad_request", "overlap is a number of seconds between 0 and 2592000 (30 days).")
	}
	id := call.Param("key")
	key, digest, err := api.NewKey(u.random, id)
	if err != nil {
		return nil, store.ErrNotFound
	}
	var made keyMade
	_, err = u.edit(call, func(_ resource.Set, s *userSpec) error {
		i := slices.IndexFunc(s.Keys, func(k userKey) bool { return k.ID == id })
		if i < 0 {
			return store.ErrNotFound
		}
		old := s.Keys[i]
		made = keyMade{keyInfo{id, old.Expires.instant(), old.Scopes}, key}
		s.Keys[i].SHA256 = digest
		s.Keys = slices.DeleteFunc(s.Keys, func(k userKey) bool { return k.ID == id+api.OldKey })
		if body.Overlap > 0 {
			until := u.now().Add(time.Duration(body.Overlap) * time.Second).UTC().Truncate(time.Second)
			if old.Expires != nil && old.Expires.Before(until) {
				until = old.Expires.Time
			}
			s.Keys = append(s.Keys, userKey{ID: id + api.OldKey, SHA256: old.SHA256, Expires: &keyEnd{until}, Scopes: old.Scopes})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return made, nil
}

func (u *userRoutes) removeKey(call *api.Call) (any, error) {
	_, err := u.edit(call, func(_ resource.Set, s *userSpec) error {
		i := slices.IndexFunc(s.Keys, func(k userKey) bool { return k.ID == call.Param("key") })
		if i < 0 {
			return store.ErrNotFound
		}
		s.Keys = slices.Delete(s.Keys, i, i+1)
		return nil
	})
	return nil, err
}
