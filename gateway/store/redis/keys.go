package redis

import (
	"encoding/base32"
	"encoding/binary"
	"strconv"
	"strings"

	"turnout/gateway/id"
	"turnout/gateway/store"
)

// Keys. Everything of one partition carries the partition's tag, so that it lies in one slot of a Cluster and one script
// can touch all of it. T is a tenant, C a conversation, {p} a partition's tag; every key begins with the store's prefix.
//
//	{p}T/C:s            state: hash of v version, ops marks of the last operations, ah end of the audit chain, st sealed
//	                    state; lt, lx lease and its end; at, ax send attempt and its end; ov version of the outbox;
//	                    al, aa what of the log and of the audit entries is archived
//	{p}T/C:l            log: stream of the events of a step from seq on, id <seq>-1
//	{p}T/C:a            audit entries: stream, id <n>-1
//	{p}T/C:f            attachments: hash by id
//	{p}T/C:o            outbox: hash by place
//	{p}T/k              wrapped data keys: hash by conversation
//	{p}T/i              identities: hash from address to conversation
//	{p}T/c              conversations: sorted set, all with score 0
//	{p}T/p              access paths: sorted set of kind, hash, time, conversation
//	{p}T/y              closed and not archived: sorted set of conversations by when they came to rest
//	{p}T/m              chains that grew since the last checkpoint: set
//	{p}T/b {p}T/z       tombstones: hash by conversation; what is still to be scrubbed: set
//	{p}T/D {p}T/E       dead letters: sorted set of time and row, hash by row
//	{p}d:<gen>:<n>      message ids: hash from keyed hash to sequence and conversation
//	{p}g                the partition's own: hash of gen, the newest dedupe generation, and its lineage (lineage.go)
//	{p}r {p}t {p}o      work, timers, outboxes: sorted by when to look again
//	{p}q                with people: set of T/C
//	{p}x                relay rows on their way to the tenants' queue views: stream
//
//	{q:T}…              the queue view of a tenant (desk.go)
//	{t:T}s {t:T}a       the tenant's own chain: its fields, its entries
//	{t:T}k              checkpoints: stream, id <n>-1
//	{t:T}v:<doc>        versions of a document: hash by number, n the newest
//	{t:T}r:<kind>       records: hash by id
//	{t:T}j {t:T}z       leased jobs; that records are still to be scrubbed
//	{t:T}n:<key>        answers to requests, with their time to live
//	{t:T}c              by node, the digest of the rules that it can judge by
//	{g}m {g}t {g}n      the store's own; wrapped keys of tenants; by node, until when it is believed to live
type keys struct {
	prefix string
	tags   [id.Partitions]string
}

func newKeys(prefix string) *keys {
	k := &keys{prefix: prefix}
	// The tag of partition i is the smallest number whose slot is 16 i + 8: so the partitions spread evenly over the slots
	// of a Cluster, however many primaries share them.
	for n, left := 0, id.Partitions; left > 0; n++ {
		tag := strconv.Itoa(n)
		slot := crc16(tag) % 16384
		if i := slot / 16; slot%16 == 8 && k.tags[i] == "" {
			k.tags[i] = "{" + tag + "}"
			left--
		}
	}
	return k
}

// crc16 is the checksum by which a Redis Cluster finds a key's slot: CRC-16/XMODEM, as its specification says.
func crc16(s string) int {
	var crc uint16
	for i := range len(s) {
		crc ^= uint16(s[i]) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return int(crc)
}

// part is a key of a partition.
func (k *keys) part(p int, name string) string { return k.prefix + k.tags[p] + name }

// ofTenant is a key of what a tenant has in a partition.
func (k *keys) ofTenant(p int, t store.Tenant, kind string) string {
	return k.prefix + k.tags[p] + t.Name() + "/" + kind
}

// conversation is a key of a conversation, which must be one by its form.
func (k *keys) conversation(p int, r store.Ref, kind string) string {
	return k.prefix + k.tags[p] + member(r) + ":" + kind
}

func (k *keys) dedupe(p int, gen uint32, bucket int) string {
	return k.prefix + k.tags[p] + "d:" + strconv.FormatUint(uint64(gen), 10) + ":" + strconv.Itoa(bucket)
}

// desk is a key of a tenant's queue view, own of its own rows, global of the store.
func (k *keys) desk(t store.Tenant, name string) string {
	return k.prefix + "{q:" + t.Name() + "}" + name
}
func (k *keys) own(t store.Tenant, name string) string {
	return k.prefix + "{t:" + t.Name() + "}" + name
}
func (k *keys) global(name string) string { return k.prefix + "{g}" + name }

// member names a conversation in the lists of its partition.
func member(r store.Ref) string { return r.Tenant.Name() + "/" + r.ID }

// dueMember names a timer or an outbox there. at is when a timer is due; it is 0 for an outbox.
func dueMember(r store.Ref, at int64, name string) string {
	return member(r) + "/" + strconv.FormatInt(at, 10) + "/" + name
}

// parseMember reads what member and dueMember wrote.
func parseMember(s string) (r store.Ref, at int64, name string, ok bool) {
	tenant, rest, ok := strings.Cut(s, "/")
	if !ok {
		return r, 0, "", false
	}
	t, err := store.NewTenant(tenant)
	if err != nil {
		return r, 0, "", false
	}
	conv, rest, timed := strings.Cut(rest, "/")
	if _, err := id.Partition(id.Conversation, conv); err != nil {
		return r, 0, "", false
	}
	r = store.Ref{Tenant: t, ID: conv}
	if !timed {
		return r, 0, "", true
	}
	instant, name, ok := strings.Cut(rest, "/")
	if !ok {
		return r, 0, "", false
	}
	at, err = strconv.ParseInt(instant, 10, 64)
	return r, at, name, err == nil
}

// home returns the partition of a conversation, or store.ErrNotFound for what is none.
func home(r store.Ref) (int, error) {
	p, err := id.Partition(id.Conversation, r.ID)
	if err != nil || r.Tenant == (store.Tenant{}) {
		return 0, store.ErrNotFound
	}
	return p, nil
}

var idLetters = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

const (
	idLen  = 28
	rawLen = 16
)

// rawID returns the 16 bytes of an id; ok is false for what is none.
func rawID(v string) (b [rawLen]byte, ok bool) {
	if len(v) != idLen {
		return b, false
	}
	_, err := idLetters.Decode(b[:], []byte(v[2:]))
	return b, err == nil
}

// conversationID is the id of a conversation's 16 bytes.
func conversationID(b []byte) string {
	return string(byte(id.Conversation)) + "_" + idLetters.EncodeToString(b)
}

// born returns the milliseconds that a valid id carries.
func born(v string) uint64 {
	b, ok := rawID(v)
	if !ok {
		return 0
	}
	return binary.BigEndian.Uint64(b[:8]) << 10 >> 16
}

func be64(k []byte, v uint64) []byte { return binary.BigEndian.AppendUint64(k, v) }

// after is the smallest string above every one with the prefix.
func after(prefix string) string {
	k := []byte(prefix)
	for i := len(k) - 1; i >= 0; i-- {
		if k[i]++; k[i] != 0 {
			return string(k[:i+1])
		}
	}
	return ""
}
