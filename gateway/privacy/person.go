package privacy

import (
	"context"
	"errors"
	"slices"

	"turnout/gateway/id"
	"turnout/gateway/store"
)

// Person names somebody by one of three: a conversation of theirs, the contact, or a channel and the address on it.
type Person struct {
	Conversation string `json:"conversation,omitempty"`
	Contact      string `json:"contact,omitempty"`
	Channel      string `json:"channel,omitempty"`
	Address      string `json:"address,omitempty"`
}

// ErrPerson says that a Person is not one of the three.
var ErrPerson = errors.New("name a person by a conversation, by a contact, or by a channel and an address")

func (w Person) check() error {
	n := 0
	for _, set := range []bool{w.Conversation != "", w.Contact != "", w.Channel != "" || w.Address != ""} {
		if set {
			n++
		}
	}
	if n != 1 || (w.Channel == "") != (w.Address == "") {
		return ErrPerson
	}
	return nil
}

// mostConversations bounds how much belongs to one person.
const mostConversations = 10_000

// ErrTooMany says that a person has more conversations than one request can hold.
var ErrTooMany = errors.New("more than 10,000 conversations belong to this person")

// conversations returns the ids of all that is a person's, sorted. None is store.ErrNotFound; a conversation that was erased
// is store.ErrErased.
func (p *Privacy) conversations(ctx context.Context, t store.Tenant, who Person) ([]string, error) {
	if err := who.check(); err != nil {
		return nil, err
	}
	var begin []string
	switch {
	case who.Conversation != "":
		if _, err := id.Partition(id.Conversation, who.Conversation); err != nil {
			return nil, store.ErrNotFound
		}
		if _, err := p.o.Store.Load(ctx, store.Ref{Tenant: t, ID: who.Conversation}); err != nil {
			return nil, err
		}
		begin = []string{who.Conversation}
	default:
		path := store.Path{Kind: store.ByContact, Value: who.Contact}
		if who.Contact == "" {
			path = store.Path{Kind: store.ByAddress, Value: who.Channel + "\x00" + who.Address}
		}
		var err error
		if begin, err = p.along(ctx, t, path); err != nil {
			return nil, err
		}
		if len(begin) == 0 {
			return nil, store.ErrNotFound
		}
	}
	return p.closure(ctx, t, begin)
}

// closure adds to conversations all others of the same addresses and contacts. What is erased stays in the list.
func (p *Privacy) closure(ctx context.Context, t store.Tenant, begin []string) ([]string, error) {
	seen, followed := map[string]bool{}, map[store.Path]bool{}
	todo := slices.Clone(begin)
	for len(todo) > 0 {
		conv := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if seen[conv] {
			continue
		}
		if seen[conv] = true; len(seen) > mostConversations {
			return nil, ErrTooMany
		}
		snap, err := p.o.Store.Load(ctx, store.Ref{Tenant: t, ID: conv})
		if errors.Is(err, store.ErrErased) {
			continue
		}
		if err != nil {
			return nil, err
		}
		s := snap.State
		for _, path := range []store.Path{{Kind: store.ByAddress, Value: s.From.Channel + "\x00" + s.From.Address}, {Kind: store.ByContact, Value: s.Contact}} {
			if path.Kind == store.ByContact && s.Contact == "" || followed[path] {
				continue
			}
			followed[path] = true
			more, err := p.along(ctx, t, path)
			if err != nil {
				return nil, err
			}
			todo = append(todo, more...)
		}
	}
	all := make([]string, 0, len(seen))
	for conv := range seen {
		all = append(all, conv)
	}
	slices.Sort(all)
	return all, nil
}

// along lists the conversations of an access path.
func (p *Privacy) along(ctx context.Context, t store.Tenant, path store.Path) (all []string, err error) {
	for before := ""; ; {
		refs, err := p.o.Store.List(ctx, t, path, before, page)
		if err != nil {
			return nil, err
		}
		for _, r := range refs {
			all = append(all, r.ID)
		}
		if len(refs) < page || len(all) > mostConversations {
			return all, nil
		}
		before = refs[len(refs)-1].ID
	}
}
