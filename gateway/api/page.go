package api

import (
	"encoding/base64"
	"strconv"
)

// Lists are read by pages: "limit" says how many at most, and the "cursor" of an answer, opaque to clients, leads on. An
// answer without one is the last.

const (
	usualPage = 100
	mostPage  = 1000
)

var errCursor = badRequest("This cursor is none that this list gave out.")

// Page returns the page of a list that a call asks for, and the cursor to the next. items are sorted by their keys, which
// are unique: a page begins behind the key of the last one, whatever came or went in between.
func Page[T any](c *Call, items []T, key func(T) string) (page []T, next string, err error) {
	limit, err := c.Limit(usualPage, mostPage)
	if err != nil {
		return nil, "", err
	}
	after, err := c.Cursor()
	if err != nil {
		return nil, "", err
	}
	i := 0
	for after != "" && i < len(items) && key(items[i]) <= after {
		i++
	}
	page = items[i:]
	if len(page) > limit {
		page = page[:limit]
		next = c.CursorOf(key(page[limit-1]))
	}
	if page == nil {
		page = []T{} // JSON has a list, not null
	}
	return page, next, nil
}

// Limit returns how many items a call asks for at most: usual when it does not say.
func (c *Call) Limit(usual, most int) (int, error) {
	n, err := c.Number("limit", uint64(most))
	if n == 0 {
		return usual, err
	}
	return int(n), err
}

// Cursor returns where a page begins: behind the key that CursorOf was given; "" for the start.
func (c *Call) Cursor() (key string, err error) {
	v := c.Query("cursor")
	b, err := base64.RawURLEncoding.DecodeString(v)
	if err != nil || v != "" && len(b) == 0 || len(b) > 1024 {
		return "", errCursor
	}
	return string(b), nil
}

// CursorOf returns the cursor that leads on behind a key.
func (c *Call) CursorOf(key string) string { return base64.RawURLEncoding.EncodeToString([]byte(key)) }

// CursorNumber is Cursor for lists whose keys are numbers from 1 on; 0 for the start.
func (c *Call) CursorNumber() (uint64, error) {
	key, err := c.Cursor()
	if key == "" || err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(key, 10, 63)
	if err != nil {
		return 0, errCursor
	}
	return n, nil
}

// NumberCursor is CursorOf for numbers.
func (c *Call) NumberCursor(n uint64) string { return c.CursorOf(strconv.FormatUint(n, 10)) }
