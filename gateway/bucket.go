package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"turnout/adapters"
	"turnout/gateway/alarm"
	"turnout/gateway/config"
	"turnout/gateway/store/blob/s3"
)

// alarmAttachments is raised while the bucket of attachments cannot be used.
const alarmAttachments = "attachments.bucket"

// bucketLook is how often a node looks at its bucket.
const bucketLook = 30 * time.Second

// newBucket returns the bucket of attachments that the settings name, nil for none. It does not connect.
func newBucket(o Options, cfg *config.Config) (*s3.Bucket, error) {
	b := cfg.Store.Blobs.S3
	if b == nil {
		return nil, nil
	}
	so := s3.Options{Endpoint: b.Endpoint, Region: b.Region, Bucket: b.Bucket, Prefix: b.Prefix, PathStyle: b.PathStyle, Spool: cfg.Data}
	for _, k := range []struct {
		name string
		ref  adapters.SecretRef
		to   *string
	}{{"access_key", b.AccessKey, &so.AccessKey}, {"secret_key", b.SecretKey, &so.SecretKey}} {
		secret, err := o.Secrets(k.ref)
		if err != nil {
			return nil, fmt.Errorf("reading %s of the bucket of attachments: %w", k.name, err)
		}
		if *k.to = secret.Reveal(); *k.to == "" {
			return nil, fmt.Errorf("reading %s of the bucket of attachments: it is empty", k.name)
		}
	}
	if err := os.MkdirAll(cfg.Data, 0o700); err != nil { // files on their way wait there
		return nil, fmt.Errorf("making the data folder: %w", err)
	}
	return s3.New(so)
}

// tryBucket looks at the bucket before a node serves. One that cannot be used as it is set up keeps the node from starting;
// one that does not answer now does not: conversations need no attachments, and an alarm says what is missing.
func tryBucket(ctx context.Context, b *s3.Bucket, log *slog.Logger) error {
	err := b.Try(ctx)
	if refused := (*s3.RefusedError)(nil); err != nil && (errors.As(err, &refused) || ctx.Err() != nil) {
		return fmt.Errorf("looking at the bucket of attachments: %w", err)
	}
	if err != nil {
		log.Warn("the bucket of attachments does not answer; serving without", "err", err)
	}
	return nil
}

// watchBucket raises and clears the alarm of the bucket until ctx ends.
func (g *Gateway) watchBucket(ctx context.Context) {
	tick := time.NewTicker(bucketLook)
	defer tick.Stop()
	for {
		g.lookAtBucket(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (g *Gateway) lookAtBucket(ctx context.Context) {
	err := g.store.bucket.Reach(ctx)
	switch refused := (*s3.RefusedError)(nil); {
	case ctx.Err() != nil:
	case err == nil:
		g.rules.board.Clear(alarmAttachments, "", "")
	case errors.As(err, &refused):
		g.rules.board.Raise(alarm.Alarm{Name: alarmAttachments, Reason: "Attachments can be neither taken nor shown: " + refused.Error() + "."})
	default:
		g.log.Warn("looking at the bucket of attachments", "err", err)
		g.rules.board.Raise(alarm.Alarm{Name: alarmAttachments, Reason: "Attachments can be neither taken nor shown: the server of the bucket does not answer as it should. The log says how."})
	}
}
