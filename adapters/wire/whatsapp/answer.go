package whatsapp

import (
	"encoding/json"
	"errors"
	"strconv"
)

// ErrAnswer says that an answer of the Graph API is not of its form.
var ErrAnswer = errors.New("the answer is not of the form of the platform")

// Sent is what the platform says on taking a message.
type Sent struct {
	ID string // "wamid.…", by which statuses name it
	// Recipient is who it goes to; the platform's id of a number can differ from the number (Brazil, Mexico).
	Recipient Identity
	// Held says that the message waits: "held_for_quality_assessment" or "paused", of templates. Empty: it is on its way.
	Held string
}

// DecodeSent reads the answer to a send that succeeded. The error is ErrAnswer: the message was taken all the same, under an
// id that nobody knows.
func DecodeSent(body []byte) (Sent, error) {
	var w struct {
		Contacts []struct {
			Input loose `json:"input"`
			WaID  loose `json:"wa_id"`
			User  loose `json:"user_id"`
		} `json:"contacts"`
		Messages []struct {
			ID     loose  `json:"id"`
			Status string `json:"message_status"`
		} `json:"messages"`
	}
	if json.Unmarshal(body, &w) != nil || len(w.Messages) == 0 || w.Messages[0].ID == "" {
		return Sent{}, ErrAnswer
	}
	s := Sent{ID: string(w.Messages[0].ID)}
	if len(w.Contacts) > 0 {
		c := w.Contacts[0]
		s.Recipient = Identity{WaID: string(c.WaID), User: string(c.User)}
		if digits(string(c.Input)) {
			s.Recipient.Phone = string(c.Input)
		}
	}
	if held := w.Messages[0].Status; held != "accepted" {
		s.Held = held
	}
	return s, nil
}

// File is where a file of a customer lies, for five minutes. The address is fetched with the token of the API, which must go
// to no other host than the platform's.
type File struct {
	URL, MimeType, SHA256 string
	Size                  int64 // bytes, 0: not said
}

// DecodeFile reads the answer to the question for a file. The error is ErrAnswer.
func DecodeFile(body []byte) (File, error) {
	var w struct {
		URL    string `json:"url"`
		Type   string `json:"mime_type"`
		SHA256 string `json:"sha256"`
		Size   loose  `json:"file_size"` // a string by the description
	}
	if json.Unmarshal(body, &w) != nil || w.URL == "" {
		return File{}, ErrAnswer
	}
	size, err := strconv.ParseInt(string(w.Size), 10, 64)
	if err != nil || size < 0 {
		size = 0
	}
	return File{URL: w.URL, MimeType: w.Type, SHA256: w.SHA256, Size: size}, nil
}

// DecodeUpload reads the answer to an upload: the file's id, good for 30 days. The error is ErrAnswer.
func DecodeUpload(body []byte) (string, error) {
	var w struct {
		ID loose `json:"id"`
	}
	if json.Unmarshal(body, &w) != nil || w.ID == "" {
		return "", ErrAnswer
	}
	return string(w.ID), nil
}
