package bench

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/valyala/fasthttp"
)

// Cell is one side under load for one round.
type Cell struct {
	Turns int `json:"turns"`
	// Failed are requests without the bot's answer. They are not turns.
	Failed         int     `json:"failed,omitempty"`
	Seconds        float64 `json:"seconds"`
	TurnsPerSecond float64 `json:"turns_per_second"`
	// CPU times are in milliseconds per 1,000 turns: of the side itself, of the bot behind it, of the load's process.
	CPU       float64 `json:"cpu_ms_per_1000"`
	BotCPU    float64 `json:"bot_cpu_ms_per_1000"`
	DriverCPU float64 `json:"driver_cpu_ms_per_1000"`
	P50       float64 `json:"p50_ms"`
	P99       float64 `json:"p99_ms"`
	RSS       int64   `json:"rss_bytes"` // of the side, at the end
}

// side is what is put under load.
type side struct {
	name     string
	addr     string
	pid      int
	visitors []*visitor
}

// visitor is one customer with one conversation. At any time at most one connection uses it.
type visitor struct {
	number int
	token  string
	head   []byte // of the requests
	sent   int    // messages so far; their turns are 0 to sent-1
	// cursor is the end of the conversation as of the last acknowledgement; empty if there was none.
	cursor []byte
	// unanswered are turns whose message was acknowledged without the answer, failed those without acknowledgement.
	unanswered, failed []int
}

func newVisitor(number int, host, token string) *visitor {
	return &visitor{number: number, token: token, head: requestHead(host, token)}
}

func requestHead(host, token string) []byte {
	return fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n",
		messagesPath, host, token, messageBytes)
}

// load is one pass of all connections over a side.
type load struct {
	side        *side
	connections int
	length      time.Duration
	// once lets each visitor speak once, however long that takes, in place of length.
	once bool
}

// fillTime bounds the time in which each visitor speaks once; it is a safeguard, not a measure.
const fillTime = time.Hour

// patience is how long a request may take at most; it is a safeguard, not a measure.
const patience = 60 * time.Second

// run loads the side and returns the number of turns, of failures, the sorted latencies in nanoseconds and the time that
// it took. Many failures end it early, with an error.
func (l load) run(ctx context.Context) (tally, error) {
	workers := make([]*worker, l.connections)
	for i := range workers {
		workers[i] = &worker{addr: l.side.addr}
		for j := i; j < len(l.side.visitors); j += l.connections {
			workers[i].visitors = append(workers[i].visitors, l.side.visitors[j])
		}
		if err := workers[i].dial(ctx); err != nil {
			return tally{}, fmt.Errorf("connecting to %s: %w", l.side.name, err)
		}
		defer workers[i].close()
	}
	var group sync.WaitGroup
	begin := time.Now()
	for _, w := range workers {
		turns, end := math.MaxInt, begin.Add(l.length)
		if l.once {
			turns, end = len(w.visitors), begin.Add(fillTime)
		}
		group.Go(func() { w.err = w.run(ctx, turns, end) })
	}
	group.Wait()
	t := tally{took: time.Since(begin)}
	var errs []error
	for _, w := range workers {
		t.latencies = append(t.latencies, w.latencies...)
		t.failed += w.failures
		errs = append(errs, w.err)
	}
	slices.Sort(t.latencies)
	if err := errors.Join(errs...); err != nil {
		return t, fmt.Errorf("loading %s: %w", l.side.name, err)
	}
	return t, ctx.Err()
}

// tally is what a load came to. There is one latency per turn.
type tally struct {
	latencies []int64 // sorted
	failed    int
	took      time.Duration
}

// worker is a connection with its visitors.
type worker struct {
	addr     string
	visitors []*visitor

	conn      net.Conn
	reader    *bufio.Reader
	response  fasthttp.Response
	latencies []int64
	failures  int
	err       error
}

// maxFailures of one connection in one round are taken as a sign that more of the same would show nothing.
const maxFailures = 10

func (w *worker) dial(ctx context.Context) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", w.addr)
	if err != nil {
		return err
	}
	w.conn, w.reader = conn, bufio.NewReader(conn)
	return nil
}

func (w *worker) close() {
	if w.conn != nil {
		w.conn.Close()
	}
}

// run lets the visitors speak in turn, so many times, or until end.
func (w *worker) run(ctx context.Context, turns int, end time.Time) error {
	if err := w.conn.SetDeadline(end.Add(patience)); err != nil {
		return err
	}
	var request, answer []byte
	for i := range turns {
		start := time.Now()
		if !start.Before(end) || ctx.Err() != nil {
			return nil
		}
		v := w.visitors[i%len(w.visitors)]
		n := v.sent
		v.sent++
		request = appendMessage(append(request[:0], v.head...), v.number, n)
		answer = appendAnswer(answer[:0], v.number, n)
		start = time.Now()
		err := w.exchange(request)
		took := time.Since(start)
		if err == nil && v.note(n, w.response.StatusCode(), w.response.Body(), answer) {
			w.latencies = append(w.latencies, took.Nanoseconds())
			continue
		}
		w.failures++
		if err != nil {
			v.failed = append(v.failed, n)
		}
		if w.failures >= maxFailures {
			return fmt.Errorf("%d requests of one connection failed, the last with %s", w.failures, w.outcome(err))
		}
		if err != nil {
			w.close()
			if err := w.dial(ctx); err != nil {
				return err
			}
			if err := w.conn.SetDeadline(end.Add(patience)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *worker) exchange(request []byte) error {
	if _, err := w.conn.Write(request); err != nil {
		return err
	}
	const most = 1 << 20
	return w.response.ReadLimitBody(w.reader, most)
}

// outcome describes a failed request without repeating what was said in it.
func (w *worker) outcome(err error) string {
	if err != nil {
		return err.Error()
	}
	return "status " + strconv.Itoa(w.response.StatusCode())
}

// note keeps what a response proves, and reports whether it is a whole turn: it holds the answer.
func (v *visitor) note(n, status int, body, answer []byte) bool {
	whole := status == fasthttp.StatusOK && bytes.Contains(body, answer)
	switch {
	case whole:
	case status == fasthttp.StatusOK, status == fasthttp.StatusAccepted:
		v.unanswered = append(v.unanswered, n)
	default:
		v.failed = append(v.failed, n)
		return false
	}
	const key = `"cursor":"`
	if at := bytes.LastIndex(body, []byte(key)); at >= 0 {
		rest := body[at+len(key):]
		if end := bytes.IndexByte(rest, '"'); end > 0 {
			v.cursor = append(v.cursor[:0], rest[:end]...)
		}
	}
	return whole
}
