package webhook

import (
	"context"

	"turnout/adapters"
	"turnout/adapters/hook"
)

var _ adapters.Reacher = (*Bot)(nil)

// Reach implements adapters.Reacher.
func (b *Bot) Reach(ctx context.Context) error { return hook.Reach(ctx, b.dial, b.to.addr, b.to.tls) }
