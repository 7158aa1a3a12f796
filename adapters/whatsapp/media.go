package whatsapp

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"mime"
	"net/http"
	"net/url"
	"path"
	"strings"

	"turnout/adapters"
	"turnout/adapters/clean"
	"turnout/adapters/message"
	"turnout/adapters/problem"
	wire "turnout/adapters/wire/whatsapp"
)

// fetchError says why a file could not be fetched. later is set when it may work another time. Its text holds no address.
type fetchError struct {
	what  string
	later bool
}

func (e *fetchError) Error() string { return e.what }

func fetchLater(err error) bool {
	var e *fetchError
	return errors.As(err, &e) && e.later
}

// fetch brings the file of a message into the blob store. Errors: adapters.ErrUnavailable and ErrUnknownOutcome of the store,
// *adapters.RefusedError for a file that may not be, *fetchError.
func (c *Channel) fetch(ctx context.Context, from message.Address, m *wire.Message) (message.Attachment, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	meta, err := c.get(ctx, c.cfg.Graph+"/"+url.PathEscape(m.Media.ID)+"?phone_number_id="+c.cfg.Number)
	if err != nil {
		return message.Attachment{}, err
	}
	answer, err := readAll(meta.Body, maxAnswer)
	meta.Body.Close()
	if err != nil {
		return message.Attachment{}, &fetchError{"the answer about a file broke off", true}
	}
	file, err := wire.DecodeFile(answer)
	if err != nil {
		return message.Attachment{}, &fetchError{"the answer about a file is not of its form", false}
	}
	if file.Size > c.cfg.Media.MaxBytes {
		return message.Attachment{}, &adapters.RefusedError{Code: problem.CodeTooLarge, Detail: fmt.Sprintf("The file has more than %d bytes.", c.cfg.Media.MaxBytes)}
	}
	body, err := c.get(ctx, file.URL)
	if err != nil {
		return message.Attachment{}, err
	}
	defer body.Body.Close()
	want := file.SHA256
	if want == "" {
		want = m.Media.SHA256
	}
	sum := &checked{r: body.Body, sum: sha256.New(), want: want}
	a, err := c.deps.Blobs.Put(ctx, from, nameOf(m), sum, c.cfg.Media.MaxBytes)
	var refused *adapters.RefusedError
	switch {
	case err == nil:
		return a, nil
	case sum.err != nil:
		return message.Attachment{}, &fetchError{sum.err.Error(), true}
	case errors.As(err, &refused), errors.Is(err, adapters.ErrUnavailable), errors.Is(err, adapters.ErrUnknownOutcome):
		return message.Attachment{}, err
	}
	return message.Attachment{}, fmt.Errorf("keeping a file: %w", adapters.ErrUnavailable)
}

// checked reads a file and says at its end whether it is the one that it should be.
type checked struct {
	r    io.Reader
	sum  hash.Hash
	want string
	err  error // of the file, not of who reads it
}

func (c *checked) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.sum.Write(b[:n])
	switch {
	case errors.Is(err, io.EOF):
		if !isSum(c.want, c.sum.Sum(nil)) {
			c.err = errors.New("a file is not the one that was announced")
			return n, c.err
		}
	case err != nil:
		c.err = errors.New("a file broke off")
		return n, c.err
	}
	return n, err
}

// isSum compares a digest with what was announced, in base64 as the platform writes it or in hexadecimal as some do. Where
// nothing that can be read was announced, every file is right.
func isSum(want string, got []byte) bool {
	if raw, err := base64.StdEncoding.DecodeString(want); err == nil && len(raw) == len(got) {
		return string(raw) == string(got)
	}
	if raw, err := hex.DecodeString(want); err == nil && len(raw) == len(got) {
		return string(raw) == string(got)
	}
	return true
}

// get asks for something with the token, which goes to no host but the platform's. The body is the caller's to close.
func (c *Channel) get(ctx context.Context, address string) (*http.Response, error) {
	u, err := url.Parse(address)
	if err != nil || u.User != nil || !c.mayHaveToken(u) {
		return nil, &fetchError{"a file lies on a host that is not the platform's; media.hosts names those to trust", false}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, &fetchError{"the address of a file cannot be used", false}
	}
	c.sign(req)
	req.Header.Set("Accept", "*/*")
	resp, err := c.client.Do(req)
	if err != nil {
		return nil, &fetchError{"no answer to the question for a file", true}
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	resp.Body.Close()
	// Too many refusals in a row have the next ones refused, too: what is refused is not asked for again.
	later := resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode == http.StatusUnauthorized
	return nil, &fetchError{fmt.Sprintf("the question for a file was answered by status %d", resp.StatusCode), later}
}

// nameOf is what a file is called: as its sender calls it, or after what it is.
func nameOf(m *wire.Message) string {
	if name := clean.Name(path.Base(strings.ReplaceAll(m.Media.Filename, `\`, "/"))); name != "" && name != "." && name != "/" {
		return name
	}
	kind, _, err := mime.ParseMediaType(m.Media.MimeType)
	if err != nil {
		return m.Type
	}
	return m.Type + extensions[kind]
}

// extensions are the usual ones of what the platform carries; the system's table differs from machine to machine.
var extensions = map[string]string{
	"image/jpeg": ".jpg", "image/png": ".png", "image/webp": ".webp", "video/mp4": ".mp4", "video/3gpp": ".3gp", "audio/ogg": ".ogg",
	"audio/mpeg": ".mp3", "audio/mp4": ".m4a", "audio/aac": ".aac", "audio/amr": ".amr", "application/pdf": ".pdf", "text/plain": ".txt",
}
