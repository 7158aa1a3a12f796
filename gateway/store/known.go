package store

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Documents is the part of Versions that PublishKnown needs.
type Documents interface {
	Publish(ctx context.Context, t Tenant, doc string, prev int, v VersionedDoc) error
	Current(ctx context.Context, t Tenant, doc string) (VersionedDoc, error)
}

// knownTime bounds how long PublishKnown asks, knownPause is how long it rests in between: a store that has failed opens
// again within a moment, or not for a while.
const (
	knownTime  = 8 * time.Second
	knownPause = 20 * time.Millisecond
)

// PublishKnown is Publish whose answer agrees with what the store has: where that does not know whether it wrote, its newest
// version is read until it can be. It returns nil if that is v, ErrUnavailable if it still is the one before, ErrStale if it
// is another one, and ErrUnknown only if nothing can be read for eight seconds, or until ctx ends.
func PublishKnown(ctx context.Context, s Documents, t Tenant, doc string, prev int, v VersionedDoc) error {
	err := s.Publish(ctx, t, doc, prev, v)
	if !errors.Is(err, ErrUnknown) {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, knownTime)
	defer cancel()
	pause := time.NewTicker(knownPause)
	defer pause.Stop()
	for {
		newest, failed := s.Current(ctx, t, doc)
		switch {
		case failed == nil && newest.is(v, prev+1):
			return nil
		case failed == nil && newest.N > prev:
			return ErrStale
		case failed == nil || errors.Is(failed, ErrNotFound):
			return fmt.Errorf("%w: version %d of %s came to nothing", ErrUnavailable, prev+1, doc)
		}
		select {
		case <-ctx.Done():
			return err
		case <-pause.C:
		}
	}
}

// is reports whether v is other, as version n.
func (v VersionedDoc) is(other VersionedDoc, n int) bool {
	return v.N == n && v.Digest == other.Digest && v.At == other.At && v.By == other.By && string(v.Body) == string(other.Body)
}
