package embedded

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"turnout/gateway/id"
	"turnout/gateway/store"
)

// deadRow is a dead letter as it is stored, behind the id of its conversation in the clear.
type deadRow struct {
	Row     store.OutboxRow `json:"row"`
	Code    string          `json:"code"`
	Attempt int             `json:"attempt"`
	At      int64           `json:"at"`
}

func deadKey(t store.Tenant, at int64, row string) []byte {
	return append(be64(tenantKey(t.Name(), 'D'), uint64(at)), row...)
}

// deadPlace is the key of the row that says when a dead letter died and in which conversation.
func deadPlace(t store.Tenant, row string) []byte {
	return append(tenantKey(t.Name(), 'E'), row...)
}

const idLen = 28

// bury makes a dead letter of a row.
func (s *Store) bury(b *pebble.Batch, rec *record, row outRow, res store.SendResult) error {
	t := rec.ref.Tenant
	key := deadKey(t, res.Now, row.Row.ID)
	plain := deadRow{Row: row.Row, Code: res.Code, Attempt: row.Attempt, At: res.Now}
	if err := putSealed(b, rec.key, key, plain); err != nil {
		return err
	}
	if err := b.Set(deadPlace(t, row.Row.ID), append(be64(nil, uint64(res.Now)), rec.ref.ID...), nil); err != nil {
		return fmt.Errorf("building dead letter: %w", err)
	}
	return nil
}

// DeadLetters implements store.Outbox.
func (s *Store) DeadLetters(ctx context.Context, t store.Tenant, limit int) ([]store.DeadLetter, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	prefix := tenantKey(t.Name(), 'D')
	var ids []string
	err := s.each(prefix, after(prefix), func(key, _ []byte) (bool, error) {
		if len(ids) >= limit {
			return false, nil
		}
		ids = append(ids, string(key[len(prefix)+8:]))
		return true, nil
	})
	s.life.RUnlock()
	if err != nil {
		return nil, err
	}
	var dead []store.DeadLetter
	for _, row := range ids {
		d, ok, err := s.deadLetter(ctx, t, row)
		if err != nil {
			return nil, err
		}
		if ok {
			dead = append(dead, d)
		}
	}
	return dead, nil
}

// deadLetter reads one under its conversation's lock; ok is false when it has been put back meanwhile.
func (s *Store) deadLetter(ctx context.Context, t store.Tenant, row string) (d store.DeadLetter, ok bool, err error) {
	r, err := s.deadRef(ctx, t, row)
	if err != nil || r.ID == "" {
		return d, false, err
	}
	p, err := s.lockRead(ctx, r)
	if err != nil {
		return d, false, err
	}
	defer s.unlockRead(p)
	rec, err := s.existing(r)
	if err != nil {
		return d, false, err
	}
	body, _, err := s.readDead(rec, row)
	if err != nil || body == nil {
		return d, false, err
	}
	return store.DeadLetter{Ref: r, Row: body.Row, Code: body.Code, Attempt: body.Attempt, At: body.At}, true, nil
}

// deadRef returns the conversation of a dead letter; its ID is empty when there is none.
func (s *Store) deadRef(ctx context.Context, t store.Tenant, row string) (store.Ref, error) {
	if err := s.enter(ctx); err != nil {
		return store.Ref{}, err
	}
	defer s.life.RUnlock()
	place, err := s.get(deadPlace(t, row))
	if err != nil || len(place) != 8+idLen {
		return store.Ref{}, err
	}
	return store.Ref{Tenant: t, ID: string(place[8:])}, nil
}

// readDead returns a dead letter and its key, nil when it is gone.
func (s *Store) readDead(rec *record, row string) (*deadRow, []byte, error) {
	place, err := s.get(deadPlace(rec.ref.Tenant, row))
	if err != nil || len(place) != 8+idLen {
		return nil, nil, err
	}
	key := deadKey(rec.ref.Tenant, int64(binary.BigEndian.Uint64(place)), row)
	v, err := s.get(key)
	if err != nil || v == nil {
		return nil, nil, err
	}
	body := new(deadRow)
	return body, key, openSealed(rec.key, key, v, body)
}

// Redrive implements store.Outbox. A row that is put back goes to the end of its conversation's outbox.
func (s *Store) Redrive(ctx context.Context, t store.Tenant, row string, discard bool) error {
	if _, err := id.Partition(id.Row, row); err != nil {
		return store.ErrNotFound
	}
	r, err := s.deadRef(ctx, t, row)
	if err != nil {
		return err
	}
	if r.ID == "" {
		return store.ErrNotFound
	}
	p, err := s.lockWrite(ctx, r)
	if err != nil {
		return err
	}
	defer s.unlockWrite(p)
	rec, err := s.existing(r)
	if err != nil {
		return err
	}
	body, key, err := s.readDead(rec, row)
	if err != nil {
		return err
	}
	if body == nil {
		return store.ErrNotFound
	}
	if err := s.gate.check(); err != nil {
		return err
	}
	b := s.db.NewBatch()
	defer b.Close()
	for _, k := range [][]byte{key, deadPlace(t, row)} {
		if err := b.Delete(k, nil); err != nil {
			return fmt.Errorf("building dead letter: %w", err)
		}
	}
	var c outboxChange
	if !discard {
		if c, err = s.putBack(b, rec, body); err != nil {
			return err
		}
	}
	if err := s.apply(b); err != nil {
		return err
	}
	if l := p.attempts[r]; c.rows && l.Live(s.now()) {
		c.at = max(c.at, l.Until)
	}
	c.show(s, r)
	return nil
}

func (s *Store) putBack(b *pebble.Batch, rec *record, d *deadRow) (outboxChange, error) {
	var all []outRow
	if err := s.rows(rec, func(row outRow) (bool, error) {
		all = append(all, row)
		return true, nil
	}); err != nil {
		return outboxChange{}, err
	}
	row := outRow{Row: d.Row, Attempt: d.Attempt, place: rec.state.Seq << placeBits}
	row.Row.Due = s.now()
	if n := len(all); n > 0 {
		row.place = max(row.place, all[n-1].place+1)
	}
	if err := putSealed(b, rec.key, outKey(rec, row.place), row); err != nil {
		return outboxChange{}, err
	}
	return s.headed(b, rec.ref, append(all, row))
}
