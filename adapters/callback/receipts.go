package callback

import (
	"context"

	"github.com/valyala/fasthttp"

	"turnout/adapters/message"
	"turnout/adapters/problem"
)

// ownReceipts is what the app's server reports on messages that it took.
type ownReceipts struct {
	Receipts []ownReceipt `json:"receipts"`
}

type ownReceipt struct {
	To         string         `json:"to"`
	Thread     string         `json:"thread"`
	ID         string         `json:"id"`
	ProviderID string         `json:"provider_id"`
	Status     message.Status `json:"status"` // sent, failed, delivered, read
	Code       string         `json:"code"`
}

// postReceipts takes in what became of messages.
func (c *Channel) postReceipts(ctx *fasthttp.RequestCtx, body []byte) {
	var own ownReceipts
	if err := decodeStrict(body, &own); err != nil {
		problem.WriteError(ctx, err)
		return
	}
	if n := len(own.Receipts); n == 0 || n > c.cfg.Limits.Batch {
		problem.WriteError(ctx, badRequest("The request must hold 1 to %d receipts.", c.cfg.Limits.Batch))
		return
	}
	for _, r := range own.Receipts {
		if (r.ID != "" && !visibleASCII(r.ID, maxIDChars)) || (r.ProviderID != "" && !visibleASCII(r.ProviderID, maxIDChars)) ||
			r.Code != "" && !visibleASCII(r.Code, maxIDChars) {
			problem.WriteError(ctx, badRequest("id, provider_id and code hold at most %d visible ASCII characters.", maxIDChars))
			return
		}
	}
	results := make([]outcome, len(own.Receipts))
	c.each(ctx, len(own.Receipts), "receipts", results, func(life context.Context, i int) error {
		r := own.Receipts[i]
		if results[i].ID = r.ID; r.ID == "" {
			results[i].ID = r.ProviderID
		}
		to := message.Address{Channel: c.deps.Key, Address: r.To, Thread: r.Thread}
		return c.deps.Deliveries.Report(life, message.Report{To: to, ID: r.ID, ProviderID: r.ProviderID, Status: r.Status, Code: r.Code})
	})
}
