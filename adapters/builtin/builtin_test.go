package builtin_test

import (
	"slices"
	"strings"
	"testing"

	"turnout/adapters"
	"turnout/adapters/builtin"
)

func TestRegistry(t *testing.T) {
	r := builtin.Registry()
	if got := r.ChannelNames(); !slices.Equal(got, []string{"callback", "web", "whatsapp"}) {
		t.Errorf("channels: %v", got)
	}
	if got := r.BotNames(); !slices.Equal(got, []string{"openai", "webhook"}) {
		t.Errorf("bots: %v", got)
	}
	if got := r.DirectoryNames(); !slices.Equal(got, []string{"http"}) {
		t.Errorf("directories: %v", got)
	}
	if _, err := r.BuildChannel("fax", nil, adapters.Deps{}); err == nil || !strings.Contains(err.Error(), "web") {
		t.Errorf("an unknown name: %v, want an error that lists the known ones", err)
	}
	if r.Pushes("web") || !r.Pushes("callback") {
		t.Error("which channels push is wrong")
	}
	other := builtin.Registry()
	other.AddBot("mine", nil)
	if slices.Contains(r.BotNames(), "mine") {
		t.Error("two registries share their table")
	}
}
