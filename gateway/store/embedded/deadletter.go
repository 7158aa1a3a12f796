package embedded

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"turnout/gateway/id"
	"turnout/gateway/store"
	"turnout/gateway/store/form"
)

func deadKey(t store.Tenant, at int64, row string) []byte {
	return append(be64(tenantKey(t.Name(), 'D'), uint64(at)), row...)
}

// deadPlace is the key of the row that says when a dead letter died and in which conversation.
func deadPlace(t store.Tenant, row string) []byte {
	return append(tenantKey(t.Name(), 'E'), row...)
}

const idLen = 28

// bury makes a dead letter of a row.
func (w *write) bury(d form.Dead) error {
	t := w.st.Ref.Tenant
	d.At = w.s.now()
	if err := putSealed(w.batch, w.now.key, deadKey(t, d.At, d.Row.ID), d); err != nil {
		return err
	}
	if err := w.batch.Set(deadPlace(t, d.Row.ID), append(be64(nil, uint64(d.At)), w.st.Ref.ID...), nil); err != nil {
		return fmt.Errorf("building dead letter: %w", err)
	}
	return nil
}

// buryLate makes a dead letter of a message that had left, unless it is one.
func (w *write) buryLate(d store.DeadLetter) error {
	if place, err := w.s.get(deadPlace(w.st.Ref.Tenant, d.Row.ID)); err != nil || place != nil {
		return err
	}
	return w.bury(form.Dead{Row: d.Row, Code: d.Code, Attempt: d.Attempt})
}

// exhume takes the step's dead letter away and returns it as a row to send; nil when it is discarded.
func (w *write) exhume() (*form.Out, error) {
	want := w.st.Redrive
	if w.was == nil {
		return nil, store.ErrStale
	}
	body, key, err := w.s.readDead(w.was, want.Row)
	if err != nil {
		return nil, err
	}
	if body == nil {
		return nil, store.ErrStale
	}
	for _, k := range [][]byte{key, deadPlace(w.st.Ref.Tenant, want.Row)} {
		if err := w.batch.Delete(k, nil); err != nil {
			return nil, fmt.Errorf("building dead letter: %w", err)
		}
	}
	if want.Discard {
		return nil, nil
	}
	row := &form.Out{Row: body.Row, Attempt: body.Attempt, Past: body.Attempt, Unsure: body.Unsure}
	row.Row.At, row.Row.Due, row.Row.Epoch = w.s.now(), w.s.now(), w.st.State.Epoch
	return row, nil
}

// DeadLetters implements store.Outbox.
func (s *Store) DeadLetters(ctx context.Context, t store.Tenant, after string, limit int) (dead []store.DeadLetter, next string, err error) {
	prefix := tenantKey(t.Name(), 'D')
	from := prefix
	if after != "" {
		if from, err = deadCursor(t, after); err != nil {
			return nil, "", err
		}
	}
	ids, more, err := s.deadIDs(ctx, prefix, from, limit)
	if err != nil {
		return nil, "", err
	}
	for _, d := range ids {
		one, err := s.DeadLetter(ctx, t, d.row)
		if errors.Is(err, store.ErrNotFound) { // it was brought back meanwhile
			continue
		}
		if err != nil {
			return nil, "", err
		}
		dead = append(dead, one)
	}
	if more && len(ids) > 0 {
		last := ids[len(ids)-1]
		next = strconv.FormatUint(last.at, 10) + "." + last.row
	}
	return dead, next, nil
}

type deadID struct {
	at  uint64
	row string
}

func (s *Store) deadIDs(ctx context.Context, prefix, from []byte, limit int) (ids []deadID, more bool, err error) {
	if err := s.enter(ctx); err != nil {
		return nil, false, err
	}
	defer s.life.RUnlock()
	err = s.each(from, after(prefix), func(key, _ []byte) (bool, error) {
		if len(ids) >= limit {
			more = true
			return false, nil
		}
		rest := key[len(prefix):]
		ids = append(ids, deadID{binary.BigEndian.Uint64(rest), string(rest[8:])})
		return true, nil
	})
	return ids, more, err
}

// deadCursor returns the first key behind a cursor.
func deadCursor(t store.Tenant, cursor string) ([]byte, error) {
	at, row, ok := strings.Cut(cursor, ".")
	ms, err := strconv.ParseUint(at, 10, 63)
	if _, bad := id.Partition(id.Row, row); !ok || err != nil || bad != nil {
		return nil, store.ErrNotFound
	}
	return append(deadKey(t, int64(ms), row), 0), nil
}

// DeadLetter implements store.Outbox.
func (s *Store) DeadLetter(ctx context.Context, t store.Tenant, row string) (d store.DeadLetter, err error) {
	if _, err := id.Partition(id.Row, row); err != nil {
		return d, store.ErrNotFound
	}
	r, err := s.deadRef(ctx, t, row)
	if err != nil {
		return d, err
	}
	p, err := s.lockRead(ctx, r)
	if err != nil {
		return d, err
	}
	defer s.unlockRead(p)
	rec, err := s.existing(r)
	if err != nil {
		return d, err
	}
	body, _, err := s.readDead(rec, row)
	if err != nil {
		return d, err
	}
	if body == nil {
		return d, store.ErrNotFound
	}
	return store.DeadLetter{
		Ref: r, Row: body.Row, Code: body.Code, Attempt: body.Attempt, Unsure: body.Unsure > 0, At: body.At,
	}, nil
}

// deadRef returns the conversation of a dead letter.
func (s *Store) deadRef(ctx context.Context, t store.Tenant, row string) (store.Ref, error) {
	if err := s.enter(ctx); err != nil {
		return store.Ref{}, err
	}
	defer s.life.RUnlock()
	place, err := s.get(deadPlace(t, row))
	if err == nil && len(place) != 8+idLen {
		err = store.ErrNotFound
	}
	if err != nil {
		return store.Ref{}, err
	}
	return store.Ref{Tenant: t, ID: string(place[8:])}, nil
}

// readDead returns a dead letter of a conversation and its key, nil when there is none.
func (s *Store) readDead(rec *record, row string) (*form.Dead, []byte, error) {
	place, err := s.get(deadPlace(rec.ref.Tenant, row))
	if err != nil || len(place) != 8+idLen || string(place[8:]) != rec.ref.ID {
		return nil, nil, err
	}
	key := deadKey(rec.ref.Tenant, int64(binary.BigEndian.Uint64(place)), row)
	v, err := s.get(key)
	if err != nil || v == nil {
		return nil, nil, err
	}
	body := new(form.Dead)
	return body, key, openSealed(rec.key, key, v, body)
}
