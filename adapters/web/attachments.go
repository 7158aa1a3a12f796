package web

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/url"
	"path"
	"strings"
	"unicode/utf8"

	"github.com/gabriel-vasile/mimetype"
	"github.com/valyala/fasthttp"

	"turnout/adapters"
	"turnout/adapters/problem"
)

const (
	sniffBytes     = 3072 // what the sniffer looks at
	maxNameBytes   = 200
	multipartSlack = 8 << 10 // boundaries and headers around a file
)

// postAttachment stores one file: the raw body with its name in X-Filename (percent-encoded) or ?name=, or the first
// file of a multipart form. The type counts by content; what a client claims is not looked at.
func (c *Channel) postAttachment(ctx *fasthttp.RequestCtx, v visitor) {
	if c.cfg.Attachments.MaxBytes < 0 {
		problem.Write(ctx, fasthttp.StatusForbidden, problem.CodeForbidden, "This channel takes no files.")
		return
	}
	name, content, err := upload(ctx)
	if err != nil {
		problem.WriteError(ctx, err)
		return
	}
	buffered := bufio.NewReaderSize(content, sniffBytes)
	head, err := buffered.Peek(sniffBytes)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		problem.WriteError(ctx, badRequest("The file ended early. Send it again."))
		return
	}
	if len(head) == 0 {
		problem.WriteError(ctx, badRequest("The file is empty."))
		return
	}
	if !c.allowedType(head) {
		problem.Write(ctx, fasthttp.StatusUnsupportedMediaType, problem.CodeBadRequest,
			"Files of this type are not taken. The type is told by the content, not by the name.")
		return
	}
	work, cancel := c.request()
	defer cancel()
	a, err := c.deps.Blobs.Put(work, c.address(v.address()), name, buffered, c.cfg.Attachments.MaxBytes)
	if err != nil {
		problem.WriteError(ctx, err)
		return
	}
	writeJSON(ctx, fasthttp.StatusOK, a)
}

// upload returns the name and the content of the file that the request carries. The content is read as it comes where
// the server streams bodies, and lives no longer than the request.
func upload(ctx *fasthttp.RequestCtx) (name string, content io.Reader, err error) {
	content = ctx.RequestBodyStream()
	if content == nil {
		content = bytes.NewReader(ctx.PostBody())
	}
	kind, params, err := mime.ParseMediaType(string(ctx.Request.Header.ContentType()))
	if err == nil && kind == "multipart/form-data" {
		return uploadedPart(content, params["boundary"])
	}
	name = string(ctx.QueryArgs().Peek("name"))
	if given := ctx.Request.Header.Peek("X-Filename"); len(given) > 0 {
		if name, err = url.PathUnescape(string(given)); err != nil {
			return "", nil, badRequest("X-Filename is not percent-encoded UTF-8.")
		}
	}
	return cleanName(name), content, nil
}

// uploadedPart returns the first file of a form, looking at a bounded number of parts.
func uploadedPart(body io.Reader, boundary string) (name string, content io.Reader, err error) {
	if boundary == "" {
		return "", nil, badRequest("The form has no boundary.")
	}
	form := multipart.NewReader(body, boundary)
	for range maxAttachmentCount {
		part, err := form.NextRawPart()
		if err != nil {
			break
		}
		if name := part.FileName(); name != "" {
			return cleanName(name), part, nil
		}
	}
	return "", nil, badRequest("The form has no file.")
}

// cleanName makes a file's name harmless: its last element, without control characters, at most 200 bytes.
func cleanName(name string) string {
	name = dropControls(strings.ReplaceAll(name, `\`, "/"))
	name = strings.TrimSpace(strings.NewReplacer("\n", "", "\t", " ").Replace(path.Base("/" + name)))
	for len(name) > maxNameBytes {
		_, size := utf8.DecodeLastRuneInString(name)
		name = name[:len(name)-size]
	}
	if name == "" || name == "/" || name == "." || name == ".." {
		return "file"
	}
	return name
}

func (c *Channel) allowedType(head []byte) bool {
	sniffed := mimetype.Detect(head)
	// A type that descends from one that browsers run (SVG from XML) is no better than it.
	for m := sniffed; m != nil; m = m.Parent() {
		if activeType(m.String()) {
			return false
		}
	}
	for t := range c.types {
		if sniffed.Is(t) {
			return true
		}
	}
	return false
}

func (c *Channel) getAttachment(ctx *fasthttp.RequestCtx, v visitor) {
	c.serveFile(ctx, v)
}

// serveFile sends an attachment that the visitor may see, always as something to save and never to show.
func (c *Channel) serveFile(ctx *fasthttp.RequestCtx, v visitor) {
	id, _ := ctx.UserValue("id").(string)
	if checkID(id) != nil {
		problem.WriteError(ctx, adapters.ErrNotFound)
		return
	}
	work, cancel := c.request()
	defer cancel()
	a, content, err := c.deps.Blobs.Get(work, c.address(v.address()), strings.Clone(id))
	if err != nil {
		problem.WriteError(ctx, err)
		return
	}
	h := &ctx.Response.Header
	h.SetContentType(a.Type)
	h.Set(fasthttp.HeaderContentDisposition, disposition(a.Name))
	h.Set(fasthttp.HeaderXContentTypeOptions, "nosniff")
	h.Set(fasthttp.HeaderContentSecurityPolicy, "default-src 'none'; sandbox")
	h.Set(fasthttp.HeaderCacheControl, "private, no-store")
	ctx.Response.SetBodyStream(content, int(a.Size))
}

// disposition writes the name as RFC 6266 says, in a form that can hold no quote and no line end.
func disposition(name string) string {
	return "attachment; filename*=UTF-8''" + strings.ReplaceAll(url.QueryEscape(cleanName(name)), "+", "%20")
}
