package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"turnout/adapters/message"
)

// Log is what the log holds of what was acknowledged, read back after the gateway was killed and started again.
type Log struct {
	Conversations int `json:"conversations"`
	// Messages and Answers are those that were acknowledged to a client.
	Messages int `json:"messages"`
	Answers  int `json:"answers"`
	// Lost of them were not there, Twice were there more than once. Faults describes the first ones.
	Lost  int `json:"lost"`
	Twice int `json:"twice"`
	// Unread conversations were not looked at, because many others had already ended too early.
	Unread int      `json:"unread,omitempty"`
	Faults []string `json:"faults,omitempty"`
}

// ErrLog says that the log does not hold what was acknowledged, or holds it twice.
var ErrLog = errors.New("the log does not hold every acknowledged turn exactly once")

const (
	readers   = 16
	maxFaults = 20
	// An event is one line; texts here are short, but its size is the gateway's to choose.
	maxEventLine = 1 << 20
)

// readBack reads every conversation from its start and compares it with what was acknowledged.
func readBack(ctx context.Context, addr string, visitors []*visitor) (Log, error) {
	client := &http.Client{Transport: &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: readers}}
	defer client.CloseIdleConnections()
	work := make(chan *visitor)
	var group sync.WaitGroup
	var mu sync.Mutex
	var log Log
	var errs []error
	cut := 0 // conversations that ended too early
	for range readers {
		group.Go(func() {
			for v := range work {
				seen, err := readConversation(ctx, client, addr, v)
				mu.Lock()
				switch {
				case err == nil:
					log.add(v, seen)
				case errors.Is(err, errSilent):
					cut++
					log.add(v, seen)
					log.fault(&log.Lost, fmt.Sprintf("the conversation of visitor %d ends before its last acknowledged event", v.number))
				default:
					errs = append(errs, err)
				}
				mu.Unlock()
			}
		})
	}
	hopeless := func() bool {
		mu.Lock()
		defer mu.Unlock()
		return cut >= maxFaults || len(errs) >= maxFaults
	}
	for _, v := range visitors {
		switch {
		case len(v.cursor) == 0:
		case hopeless():
			mu.Lock()
			log.Unread++
			mu.Unlock()
		default:
			work <- v
		}
	}
	close(work)
	group.Wait()
	if err := errors.Join(errs...); err != nil {
		return log, fmt.Errorf("reading the log back: %w", err)
	}
	if log.Lost > 0 || log.Twice > 0 {
		return log, ErrLog
	}
	return log, nil
}

// said counts what a conversation holds: the customer's messages by their ids, the bot's by their texts.
type said struct{ messages, answers map[string]int }

// errSilent says that a stream had nothing more to give although there should have been more.
var errSilent = errors.New("the event stream fell silent too early")

// readConversation reads events up to the last acknowledged one. A stream that has no more to give before that does
// not end by itself: a time without anything new ends it, and what was seen comes with errSilent.
func readConversation(ctx context.Context, client *http.Client, addr string, v *visitor) (said, error) {
	const quiet = 10 * time.Second
	whole := ctx
	ctx, cancel := context.WithCancel(whole)
	defer cancel()
	silence := time.AfterFunc(quiet, cancel)
	defer silence.Stop()
	seen := said{map[string]int{}, map[string]int{}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+eventsPath, nil)
	if err != nil {
		return seen, err
	}
	request.Header.Set("Authorization", "Bearer "+v.token)
	response, err := client.Do(request)
	if err != nil {
		return seen, fmt.Errorf("visitor %d: %w", v.number, err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return seen, fmt.Errorf("visitor %d: the event stream answers %s", v.number, response.Status)
	}
	err = readEvents(response.Body, string(v.cursor), func(e message.Visible) {
		silence.Reset(quiet)
		seen.add(e)
	})
	switch {
	case err == nil:
		return seen, nil
	case ctx.Err() != nil && whole.Err() == nil, errors.Is(err, io.ErrUnexpectedEOF):
		return seen, errSilent
	}
	return seen, fmt.Errorf("visitor %d: %w", v.number, err)
}

func (s said) add(e message.Visible) {
	switch {
	case e.Type != message.VisibleMessage:
	case e.By == message.ByCustomer:
		s.messages[e.ClientID]++
	case e.By == message.ByBot && e.Part != nil:
		s.answers[e.Part.Text]++
	}
}

var errGap = errors.New("the event stream is not in order or has a gap")

// readEvents hands every event of an event stream to each, until the one whose id is last. Their sequence must run 1, 2,
// 3 and so on.
func readEvents(r io.Reader, last string, each func(message.Visible)) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxEventLine)
	var id string
	var vseq uint64
	for lines.Scan() {
		field, value, _ := strings.Cut(lines.Text(), ":")
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "id":
			id = value
		case "data":
			// Frames without an id are no events of the conversation.
			if id == "" {
				continue
			}
			var e message.Visible
			if err := json.Unmarshal([]byte(value), &e); err != nil {
				return fmt.Errorf("decoding an event: %w", err)
			}
			if vseq++; e.VSeq != vseq {
				return errGap
			}
			each(e)
			if id == last {
				return nil
			}
			id = ""
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("reading events: %w", err)
	}
	return io.ErrUnexpectedEOF
}

// add compares what a conversation holds with what its visitor was told.
func (l *Log) add(v *visitor, seen said) {
	l.Conversations++
	failed, unanswered := set(v.failed), set(v.unanswered)
	for n := range v.sent {
		id, answer := appendID(nil, v.number, n), appendAnswer(nil, v.number, n)
		l.count(id, "message", seen.messages[string(id)], !failed[n])
		l.count(id, "answer", seen.answers[string(answer)], !failed[n] && !unanswered[n])
	}
}

func (l *Log) count(id []byte, what string, times int, acknowledged bool) {
	if acknowledged && what == "message" {
		l.Messages++
	}
	if acknowledged && what == "answer" {
		l.Answers++
	}
	switch {
	case acknowledged && times == 0:
		l.fault(&l.Lost, fmt.Sprintf("the %s of %s is lost", what, id))
	case times > 1:
		l.fault(&l.Twice, fmt.Sprintf("the %s of %s is there %d times", what, id, times))
	}
}

// fault counts a fault, and describes it unless many are.
func (l *Log) fault(counter *int, description string) {
	*counter++
	if len(l.Faults) < maxFaults {
		l.Faults = append(l.Faults, description)
	}
}

func set(numbers []int) map[int]bool {
	m := make(map[int]bool, len(numbers))
	for _, n := range numbers {
		m[n] = true
	}
	return m
}

// openSessions opens sessions for the visitors from number first on, several at a time.
func openSessions(ctx context.Context, addr string, first, count int) ([]*visitor, error) {
	client := &fasthttp.Client{MaxConnsPerHost: readers, ReadTimeout: patience, WriteTimeout: patience}
	defer client.CloseIdleConnections()
	visitors := make([]*visitor, count)
	errs := make([]error, readers)
	var group sync.WaitGroup
	for w := range readers {
		group.Go(func() {
			for i := w; i < count && errs[w] == nil && ctx.Err() == nil; i += readers {
				visitors[i], errs[w] = openSession(client, addr, first+i)
			}
		})
	}
	group.Wait()
	if err := errors.Join(append(errs, ctx.Err())...); err != nil {
		return nil, fmt.Errorf("opening a session: %w", err)
	}
	return visitors, nil
}

func openSession(client *fasthttp.Client, addr string, number int) (*visitor, error) {
	request, response := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(request)
	defer fasthttp.ReleaseResponse(response)
	request.Header.SetMethod(http.MethodPost)
	request.SetRequestURI("http://" + addr + sessionPath)
	if err := client.Do(request, response); err != nil {
		return nil, err
	}
	if status := response.StatusCode(); status != http.StatusOK {
		return nil, fmt.Errorf("the gateway answers %d", status)
	}
	var session struct {
		Token string `json:"token"`
	}
	if err := json.Unmarshal(response.Body(), &session); err != nil || session.Token == "" {
		return nil, errors.New("the answer has no token")
	}
	return newVisitor(number, addr, session.Token), nil
}
