package hook

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// MostRetryAfter bounds what RetryAfter returns.
const MostRetryAfter = 24 * time.Hour

// RetryAfter reads the header of that name (RFC 9110, 10.2.3): seconds, or a date. 0: none that makes sense.
func RetryAfter(s string, now time.Time) time.Duration {
	s = strings.TrimSpace(s)
	if n, err := strconv.ParseUint(s, 10, 32); err == nil {
		return min(time.Duration(n)*time.Second, MostRetryAfter)
	}
	at, err := http.ParseTime(s)
	if err != nil {
		return 0
	}
	return min(max(at.Sub(now), 0), MostRetryAfter)
}
