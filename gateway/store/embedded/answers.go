package embedded

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"turnout/gateway/store"
)

// kindAnswer is the kind of a tenant's rows that keep answers.
const kindAnswer = 'n'

func answerKey(t store.Tenant, key [32]byte) []byte {
	return append(tenantKey(t.Name(), kindAnswer), key[:]...)
}

// sweptAnswers is how many old answers are looked at with each new one, so that what has expired goes.
const sweptAnswers = 8

// Remember implements store.Answers.
func (s *Store) Remember(ctx context.Context, t store.Tenant, a store.Answer) error {
	keys, err := s.lockChain(ctx, t)
	if err != nil {
		return err
	}
	defer s.unlockChain(keys)
	plain, err := json.Marshal(a)
	if err != nil {
		return fmt.Errorf("encoding answer: %w", err)
	}
	key := answerKey(t, a.Key)
	sealed, err := keys.Seal(nil, key, plain)
	if err != nil {
		return err
	}
	b := s.db.NewBatch()
	defer b.Close()
	if err := b.Set(key, sealed, nil); err != nil {
		return fmt.Errorf("building answer: %w", err)
	}
	if err := s.dropAnswers(b, t, keys, a.Key); err != nil {
		return err
	}
	return s.apply(b)
}

// dropAnswers adds the end of some expired answers to a batch: those that follow a key. Keys are hashes, so all of them
// have their turn.
func (s *Store) dropAnswers(b *pebble.Batch, t store.Tenant, keys *tenant, from [32]byte) error {
	seen := 0
	return s.each(answerKey(t, from), after(tenantKey(t.Name(), kindAnswer)), func(k, v []byte) (bool, error) {
		a, err := openAnswer(keys, k, v)
		if err != nil {
			return false, err
		}
		if a.Until <= s.o.Now().UnixMilli() {
			if err := b.Delete(append([]byte(nil), k...), nil); err != nil {
				return false, fmt.Errorf("dropping answer: %w", err)
			}
		}
		seen++
		return seen < sweptAnswers, nil
	})
}

func openAnswer(keys *tenant, key, row []byte) (a store.Answer, err error) {
	plain, err := keys.Open(nil, key, row)
	if err != nil {
		return a, fmt.Errorf("reading answer: %w", err)
	}
	if err := json.Unmarshal(plain, &a); err != nil {
		return a, fmt.Errorf("decoding answer: %w", err)
	}
	return a, nil
}

// Recall implements store.Answers.
func (s *Store) Recall(ctx context.Context, t store.Tenant, key [32]byte) (store.Answer, error) {
	if err := s.enter(ctx); err != nil {
		return store.Answer{}, err
	}
	defer s.life.RUnlock()
	keys, err := s.tenant(t)
	if err != nil {
		return store.Answer{}, err
	}
	if keys == nil {
		return store.Answer{}, store.ErrNotFound
	}
	keys.chain.RLock()
	defer keys.chain.RUnlock()
	if err := s.trouble.now(); err != nil {
		return store.Answer{}, err
	}
	at := answerKey(t, key)
	row, err := s.get(at)
	if err == nil && row == nil {
		err = store.ErrNotFound
	}
	if err != nil {
		return store.Answer{}, err
	}
	a, err := openAnswer(keys, at, row)
	if err == nil && a.Until <= s.o.Now().UnixMilli() {
		err = store.ErrNotFound
	}
	return a, err
}
