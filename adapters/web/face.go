package web

import (
	"encoding/json"
	"fmt"

	"github.com/valyala/fasthttp"
)

// face is what the widget has to know of a channel before anybody has written: how it looks and what may be sent.
type face struct {
	Title    string            `json:"title"`
	Greeting map[string]string `json:"greeting,omitempty"`
	Theme    theme             `json:"theme"`
	// Files is missing where the channel takes none.
	Files *faceFiles `json:"files,omitempty"`
	// TextBytes is the longest text of a message, in bytes of UTF-8.
	TextBytes int `json:"text_bytes"`
	// Page is the path of the chat without scripts: where to go when scripts fail.
	Page string `json:"page"`
}

type faceFiles struct {
	MaxBytes int64    `json:"max_bytes"`
	Types    []string `json:"types"`
	// Count is how many files one message carries at most.
	Count int `json:"count"`
}

// newFace makes the answer once: nothing in it changes while the channel lives.
func newFace(cfg Config, key string) ([]byte, error) {
	f := face{
		Title: cfg.Title, Greeting: cfg.Widget.Greeting, Theme: cfg.Widget.Theme.resolved(), TextBytes: cfg.Limits.TextBytes,
		Page: "/chat/" + key,
	}
	if cfg.Attachments.MaxBytes > 0 {
		f.Files = &faceFiles{MaxBytes: cfg.Attachments.MaxBytes, Types: cfg.Attachments.Types, Count: maxAttachmentCount}
	}
	b, err := json.Marshal(f)
	if err != nil {
		return nil, fmt.Errorf("writing down the widget's settings: %w", err)
	}
	return b, nil
}

// getFace answers what the widget asks on every page of the tenant's site, so browsers may keep it for a while.
func (c *Channel) getFace(ctx *fasthttp.RequestCtx) {
	ctx.Response.Header.Set(fasthttp.HeaderCacheControl, "public, max-age=60")
	ctx.Response.Header.SetContentType("application/json")
	ctx.Response.SetBody(c.face)
}
