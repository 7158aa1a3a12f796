package privacy

import (
	"archive/zip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"time"
	"unicode"

	"turnout/adapters/message"
	"turnout/gateway/conversation"
	"turnout/gateway/store"
)

// Blobs opens the bytes of attachments. The caller closes what Open returns.
type Blobs interface {
	Open(ctx context.Context, r store.Ref, name string) (io.ReadCloser, error)
}

// Copy is everything that is held of a person.
type Copy struct {
	p             *Privacy
	tenant        store.Tenant
	Conversations []string
}

// Copy finds out what is held of a person; nothing is read yet. Errors are those of Plan.
func (p *Privacy) Copy(ctx context.Context, t store.Tenant, who Person) (*Copy, error) {
	all, err := p.conversations(ctx, t, who)
	if err != nil {
		return nil, err
	}
	return &Copy{p, t, all}, nil
}

// about is the first line of a conversation in an export.
type about struct {
	Conversation string            `json:"conversation"`
	Channel      string            `json:"channel"`
	Address      string            `json:"address,omitempty"`
	Contact      string            `json:"contact,omitempty"`
	OpenedAt     time.Time         `json:"opened_at"`
	ClosedAt     time.Time         `json:"closed_at,omitzero"`
	Tags         []string          `json:"tags,omitempty"`
	Profile      *message.Profile  `json:"profile,omitempty"`
	Attachments  []attachmentIndex `json:"attachments,omitempty"`
}

type attachmentIndex struct {
	message.Attachment
	// File is where its bytes are in the archive; empty when they are no longer kept.
	File string `json:"file,omitempty"`
}

// JSONL writes a line for each conversation, with what is known of the person there, and after it a line for each event of
// its log: everything that is held but the bytes of files.
func (c *Copy) JSONL(ctx context.Context, w io.Writer) error {
	return c.each(ctx, func(a about, ref store.Ref) error { return c.write(ctx, w, a, ref) })
}

// Zip writes an archive: for each conversation a file of lines as JSONL has them, and its attachments beside it.
func (c *Copy) Zip(ctx context.Context, w io.Writer) error {
	z := zip.NewWriter(w)
	if err := c.each(ctx, func(a about, ref store.Ref) error {
		f, err := z.Create(ref.ID + ".jsonl")
		if err != nil {
			return err
		}
		if err := c.write(ctx, f, a, ref); err != nil {
			return err
		}
		return c.files(ctx, z, ref)
	}); err != nil {
		return err
	}
	return z.Close()
}

// each calls f with the conversations that are still there.
func (c *Copy) each(ctx context.Context, f func(about, store.Ref) error) error {
	for _, conv := range c.Conversations {
		ref := store.Ref{Tenant: c.tenant, ID: conv}
		snap, err := c.p.o.Store.Load(ctx, ref)
		if errors.Is(err, store.ErrErased) {
			continue
		}
		if err != nil {
			return err
		}
		s := snap.State
		a := about{
			Conversation: conv, Channel: s.From.Channel, Address: s.From.Address, Contact: s.Contact, Tags: s.Tags, Profile: s.Profile,
			OpenedAt: time.UnixMilli(s.OpenedAt).UTC(),
		}
		if s.ClosedAt > 0 {
			a.ClosedAt = time.UnixMilli(s.ClosedAt).UTC()
		}
		if err := c.attachments(ctx, ref, func(x store.Attachment) error {
			i := attachmentIndex{Attachment: x.Attachment}
			if x.Blob != "" {
				i.File = fileName(ref, x)
			}
			a.Attachments = append(a.Attachments, i)
			return nil
		}); err != nil {
			return err
		}
		if err := f(a, ref); err != nil {
			return fmt.Errorf("conversation %s: %w", conv, err)
		}
	}
	return nil
}

func (c *Copy) write(ctx context.Context, w io.Writer, a about, ref store.Ref) error {
	lines := json.NewEncoder(w)
	if err := lines.Encode(a); err != nil {
		return err
	}
	for after := uint64(0); ; {
		events, err := c.p.o.Store.Log(ctx, ref, after, page)
		if err != nil {
			return err
		}
		for i := range events {
			after = events[i].Seq
			if err := lines.Encode(eventLine{ref.ID, events[i]}); err != nil {
				return err
			}
		}
		if len(events) < page {
			return nil
		}
	}
}

// eventLine is an event as it is stored, with its conversation.
type eventLine struct {
	Conversation string             `json:"conversation"`
	Event        conversation.Event `json:"event"`
}

func (c *Copy) attachments(ctx context.Context, ref store.Ref, f func(store.Attachment) error) error {
	for after := ""; ; {
		list, err := c.p.o.Store.Attachments(ctx, ref, after, page)
		if err != nil {
			return err
		}
		for _, a := range list {
			after = a.ID
			if err := f(a); err != nil {
				return err
			}
		}
		if len(list) < page {
			return nil
		}
	}
}

// files writes the bytes of a conversation's attachments.
func (c *Copy) files(ctx context.Context, z *zip.Writer, ref store.Ref) error {
	return c.attachments(ctx, ref, func(a store.Attachment) (err error) {
		if a.Blob == "" {
			return nil
		}
		body, err := c.p.o.Blobs.Open(ctx, ref, a.Blob)
		if errors.Is(err, store.ErrNotFound) { // its time was over meanwhile
			return nil
		}
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, body.Close()) }()
		f, err := z.Create(fileName(ref, a))
		if err != nil {
			return err
		}
		_, err = io.Copy(f, body)
		return err
	})
}

// fileName is the name of an attachment in an archive. What a customer called it is its end, if that is a plain name.
func fileName(ref store.Ref, a store.Attachment) string {
	name := strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("._-", r) {
			return r
		}
		return '_'
	}, path.Base(a.Name))
	if len(name) > 100 || strings.Trim(name, "._") == "" {
		name = "file"
	}
	return ref.ID + "/" + a.ID + "-" + name
}
