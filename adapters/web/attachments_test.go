package web_test

import (
	"bytes"
	"mime/multipart"
	"strings"
	"testing"

	"turnout/adapters/message"
)

const png = "\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x06\x00\x00\x00"

func TestAttachments(t *testing.T) {
	k, s := start(t, spec)
	sess, other := newSession(t, s), newSession(t, s)
	var a message.Attachment
	call(t, s, upload(s, sess.Token, "..%2F%C3%BCber%0A.png", png), 200, &a)
	if a.ID == "" || a.Name != "über.png" || a.Type != "image/png" || a.Size != int64(len(png)) {
		t.Errorf("stored %+v", a)
	}
	resp, body := s.Do(t, request(s, "GET", api+"/attachments/"+a.ID, sess.Token, nil))
	if resp.StatusCode != 200 || string(body) != png {
		t.Errorf("got %d %q", resp.StatusCode, body)
	}
	for name, want := range map[string]string{
		"Content-Type": "image/png", "Content-Disposition": "attachment; filename*=UTF-8''%C3%BCber.png", "X-Content-Type-Options": "nosniff",
	} {
		if got := resp.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	refused(t, s, request(s, "GET", api+"/attachments/"+a.ID, other.Token, nil), 404, "not_found")

	var form bytes.Buffer
	w := multipart.NewWriter(&form)
	_ = w.WriteField("comment", "x")
	part, _ := w.CreateFormFile("file", "a.txt")
	_, _ = part.Write([]byte("plain words"))
	_ = w.Close()
	req := request(s, "POST", api+"/attachments", sess.Token, form.String())
	req.Header.Set("Content-Type", w.FormDataContentType())
	call(t, s, req, 200, &a)
	if a.Name != "a.txt" || a.Size != int64(len("plain words")) {
		t.Errorf("from a form: %+v", a)
	}
	k.AssertQuiet(t, "", "über", "plain words")
}

func TestRefusedAttachments(t *testing.T) {
	_, s := start(t, spec)
	sess := newSession(t, s)
	for content, status := range map[string]int{
		"":                                400,
		"<html><script>alert(1)</script>": 415,
		"<!DOCTYPE html><p>x":             415,
		"<svg xmlns='http://www.w3.org/2000/svg'><script/></svg>":                 415,
		"<?xml version=\"1.0\"?><svg xmlns=\"http://www.w3.org/2000/svg\"></svg>": 415,
		"<?xml version=\"1.0\"?><x/>":                                             415,
		"MZ\x90\x00\x03\x00\x00\x00":                                              415,
		"PK\x03\x04\x14\x00\x00\x00\x08\x00":                                      415,
		"#!/bin/sh\necho":                                                         415,
		strings.Repeat("plain words ", 100):                                       413,
		strings.Repeat("plain words ", 10000):                                     413,
	} {
		resp, body := s.Do(t, upload(s, sess.Token, "harmless.png", content))
		if resp.StatusCode != status {
			t.Errorf("%.40q: %d %s, want %d", content, resp.StatusCode, body, status)
		}
	}
	req := upload(s, sess.Token, "x", "plain words")
	req.Header.Set("Content-Type", "multipart/form-data; boundary=xyz")
	refused(t, s, req, 400, "bad_request")
	refused(t, s, upload(s, sess.Token, "%zz", "plain words"), 400, "bad_request")

	_, without := start(t, "attachments: {max_bytes: -1}\n")
	refused(t, without, upload(without, newSession(t, without).Token, "x", "plain words"), 403, "forbidden")
}
