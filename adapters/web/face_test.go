package web_test

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestFace(t *testing.T) {
	_, s := start(t, spec+`
widget:
  greeting: {en: "Hello. What can we do for you?", es: "Hola."}
  theme: {accent: "#284e99", radius: 10, bubble: -1, font: "Inter, sans-serif"}
`)
	req := request(s, "GET", api+"/widget", "", nil)
	req.Header.Set("Origin", origin)
	resp, body := s.Do(t, req)
	var f struct {
		Title, Page string
		Greeting    map[string]string
		Theme       struct {
			Light, Dark    map[string]string
			Radius, Bubble int
			Size           int
			Font           string
		}
		Files *struct {
			MaxBytes int64 `json:"max_bytes"`
			Types    []string
			Count    int
		}
		TextBytes int `json:"text_bytes"`
	}
	if err := json.Unmarshal(body, &f); err != nil || resp.StatusCode != 200 {
		t.Fatalf("%d %s: %v", resp.StatusCode, body, err)
	}
	if f.Title != "Acme" || f.Page != chat || f.Greeting["es"] != "Hola." || f.TextBytes != 2000 || f.Files == nil || f.Files.MaxBytes != 1000 || len(f.Files.Types) == 0 {
		t.Errorf("%s", body)
	}
	if f.Theme.Light["accent"] != "#284e99" || f.Theme.Light["on_accent"] != "#ffffff" || f.Theme.Radius != 10 || f.Theme.Bubble != 0 || f.Theme.Size != 15 || f.Theme.Font != "Inter, sans-serif" {
		t.Errorf("theme %+v", f.Theme)
	}
	if f.Theme.Dark["accent"] == "" || f.Theme.Dark["accent"] == "#284e99" {
		t.Errorf("dark %v", f.Theme.Dark)
	}
	h := resp.Header
	if h.Get("Access-Control-Allow-Origin") != origin || !strings.Contains(h.Get("Vary"), "Origin") || h.Get("Cache-Control") != "public, max-age=60" {
		t.Errorf("headers %v", h)
	}

	req = request(s, "GET", api+"/widget", "", nil)
	req.Header.Set("Origin", "https://evil.example")
	if resp, body := s.Do(t, req); resp.StatusCode != 403 || resp.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("another site: %d %s", resp.StatusCode, body)
	}
}

func TestFaceWithoutFiles(t *testing.T) {
	_, s := start(t, "attachments: {max_bytes: -1}\n")
	if _, body := s.Do(t, request(s, "GET", api+"/widget", "", nil)); strings.Contains(string(body), `"files"`) {
		t.Errorf("%s", body)
	}
}
