package embedded

import (
	"context"
	"time"

	"turnout/gateway/store"
)

// Health implements store.Upkeep.
func (s *Store) Health(context.Context) store.Health {
	h := store.Health{OK: true, Level: "embedded, fsync", Fsync: time.Duration(s.fsync.Load())}
	if s.o.UnsafeNoSync {
		h.Level = "embedded, no fsync"
	}
	h.Free = s.gate.look()
	if s.gate.reserve >= 0 && h.Free < 0 {
		h.OK, h.Reason = false, "the disk is full up to the reserve"
	}
	if err := s.trouble.now(); err != nil {
		h.OK, h.Reason = false, cause(err)
	}
	return h
}
