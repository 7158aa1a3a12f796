package embedded

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"turnout/gateway/id"
	"turnout/gateway/store"
	"turnout/gateway/store/seal"
	"turnout/gateway/store/transfer"
)

// layout is the version of the keys and rows of this package.
const layout = 4

// meta is what a store knows of itself. What is counted on (partitions, generations) must not change.
type meta struct {
	Layout     int    `json:"layout"`
	Partitions int    `json:"partitions"`
	Dedupe     Dedupe `json:"dedupe"`
	Root       []byte `json:"root"`
	// Copy is set while a copy makes the store. Layout is 0 then, so that a build that does not know of it refuses too.
	Copy *copyMark `json:"copy,omitempty"`
}

// copyMark says from where a copy makes the store, and since when (ms).
type copyMark struct {
	From string `json:"from"`
	At   int64  `json:"at"`
}

var (
	metaKey       = []byte{spaceGlobal, 'm'}
	generationKey = []byte{spaceGlobal, 'g'}
	shortKey      = []byte{spaceGlobal, 's'}
)

// identify compares the store with the options, or makes it what they say when it is new.
func (s *Store) identify() error {
	row, err := s.get(metaKey)
	if err != nil {
		return err
	}
	if row == nil {
		if used, err := s.anyRow(0); err != nil || used {
			return errors.Join(err, errors.New("the folder holds rows but not the store's own"))
		}
		if row, err = s.writeMeta(s.o.copy); err != nil {
			return err
		}
	}
	var m meta
	if err := json.Unmarshal(row, &m); err != nil {
		return fmt.Errorf("decoding the store's own row: %w", err)
	}
	if err := s.copied(m); err != nil {
		return err
	}
	switch {
	case m.Layout != layout && m.Copy == nil:
		return fmt.Errorf("layout %d of the store is not %d, which this build reads", m.Layout, layout)
	case m.Partitions != id.Partitions:
		return fmt.Errorf("the store has %d partitions, this build %d", m.Partitions, id.Partitions)
	case m.Dedupe != s.o.Dedupe:
		return fmt.Errorf("the store keeps %d dedupe generations of %v, the options say %d of %v",
			m.Dedupe.Generations, m.Dedupe.Length, s.o.Dedupe.Generations, s.o.Dedupe.Length)
	}
	if err := s.root.Verify(m.Root); err != nil {
		return err
	}
	gen, err := s.get(generationKey)
	if err != nil {
		return err
	}
	if len(gen) == 4 {
		s.gens.newest.Store(binary.BigEndian.Uint32(gen))
	}
	short, err := s.get(shortKey)
	if err != nil {
		return err
	}
	if len(short) == 4 {
		s.gens.short.Store(binary.BigEndian.Uint32(short))
	}
	return s.restoreGenerations()
}

// writeMeta writes what the store knows of itself; copy is set while a copy makes it.
func (s *Store) writeMeta(copy *copyMark) (row []byte, err error) {
	m := meta{Layout: layout, Partitions: id.Partitions, Dedupe: s.o.Dedupe, Root: s.root.CheckValue(), Copy: copy}
	if copy != nil {
		m.Layout = 0
	}
	if row, err = json.Marshal(m); err != nil {
		return nil, fmt.Errorf("encoding the store's own row: %w", err)
	}
	b := s.db.NewBatch()
	defer b.Close()
	if err := b.Set(metaKey, row, nil); err != nil {
		return nil, err
	}
	if err := b.Commit(pebble.Sync); err != nil {
		return nil, fmt.Errorf("writing the store's own row: %w", err)
	}
	return row, nil
}

// copied compares whether a copy makes the store with whether the caller is that copy.
func (s *Store) copied(m meta) error {
	switch {
	case m.Copy == nil && s.o.copy == nil:
		return nil
	case m.Copy == nil: // one in which nothing has happened gives way
		if used, err := s.anyRow(spaceGlobal + 1); err != nil || used {
			return errors.Join(err, errors.New("there is a store already: move it away, or name another folder"))
		}
		return nil
	case s.o.copy == nil:
		return &transfer.Incomplete{Name: "in " + s.o.Dir, From: m.Copy.From, Begun: time.UnixMilli(m.Copy.At)}
	case m.Copy.From != s.o.copy.From:
		return fmt.Errorf("a copy of another store, %s, was interrupted here: finish that one, or take away what is there", m.Copy.From)
	}
	return nil
}

// anyRow reports whether there is a row in a space or one behind it.
func (s *Store) anyRow(space byte) (bool, error) {
	var any bool
	err := s.each([]byte{space}, []byte{0xff}, func(_, _ []byte) (bool, error) {
		any = true
		return false, nil
	})
	return any, err
}

// tenants keeps the unwrapped keys of tenants.
type tenants struct {
	mu     sync.Mutex
	byName map[string]*tenant
}

func (t *tenants) clear() {
	t.mu.Lock()
	clear(t.byName)
	t.mu.Unlock()
}

// tenant is the keys of a tenant and the lock of its chain and its versions.
type tenant struct {
	*seal.Tenant
	chain sync.RWMutex
}

// tenant returns the keys of t, nil when it has no rows yet.
func (s *Store) tenant(t store.Tenant) (*tenant, error) {
	s.tenants.mu.Lock()
	defer s.tenants.mu.Unlock()
	if k := s.tenants.byName[t.Name()]; k != nil {
		return k, nil
	}
	key := append([]byte{spaceKey, 't'}, t.Name()...)
	wrapped, err := s.get(key)
	if err != nil || wrapped == nil {
		return nil, err
	}
	keys, err := s.root.OpenTenant(t.Name(), wrapped)
	if err != nil {
		return nil, err
	}
	k := &tenant{Tenant: keys}
	s.tenants.byName[t.Name()] = k
	return k, nil
}

// makeTenant is tenant, and makes the keys durably when there are none.
func (s *Store) makeTenant(t store.Tenant) (*tenant, error) {
	if t == (store.Tenant{}) {
		return nil, store.ErrNotFound
	}
	k, err := s.tenant(t)
	if k != nil || err != nil {
		return k, err
	}
	s.tenants.mu.Lock()
	defer s.tenants.mu.Unlock()
	if k := s.tenants.byName[t.Name()]; k != nil {
		return k, nil
	}
	keys, wrapped, err := s.root.NewTenant(t.Name())
	if err != nil {
		return nil, err
	}
	b := s.db.NewBatch()
	defer b.Close()
	if err := b.Set(append([]byte{spaceKey, 't'}, t.Name()...), wrapped, nil); err != nil {
		return nil, err
	}
	if err := s.apply(b); err != nil {
		return nil, err
	}
	k = &tenant{Tenant: keys}
	s.tenants.byName[t.Name()] = k
	return k, nil
}

// content returns the data key of a conversation, nil when it has none.
func (s *Store) content(r store.Ref, t *tenant) (*seal.Content, error) {
	wrapped, err := s.get(dataKeyKey(r))
	if err != nil || wrapped == nil {
		return nil, err
	}
	return t.OpenContent(r.ID, wrapped)
}
