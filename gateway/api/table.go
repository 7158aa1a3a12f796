package api

import (
	"github.com/valyala/fasthttp"

	"turnout/gateway/queue"
)

// own lists the server's own routes.
func (s *Server) own() []Route {
	conv := "/v1/agent/conversations/{id}"
	get, post := fasthttp.MethodGet, fasthttp.MethodPost
	act := func(name string, h Handler, body any, summary string, codes ...string) Route {
		return agents(post, conv+"/"+name, h, Doc{Summary: summary, Body: body, Answer: queue.Result{}, Codes: codes})
	}
	const stale, notOwner, noRoom = "409 stale", "409 not_owner", "409 no_capacity"
	window := map[string]string{"after": "only what came after this seq", "before": "only what came before it", "limit": "how many events at most"}
	return []Route{
		{
			Method: post, Path: "/v1/agent/login", Access: Public, handler: s.postLogin,
			Doc: Doc{
				Summary: "Sign in with a password.", Body: loginBody{}, Answer: loginAnswer{}, Codes: []string{"401 unauthenticated", "403 forbidden"},
			},
		},
		{
			Method: get, Path: "/v1/agent/socket", Access: Public, handler: s.getSocket, // signs in by its first frame
			Doc: Doc{Summary: "A WebSocket that shows what changes.", File: "application/octet-stream", Codes: []string{"403 forbidden"}},
		},
		{
			Method: get, Path: "/openapi.json", Access: Public, handler: s.getDocument,
			Doc: Doc{Summary: "This document.", File: "application/json"},
		},
		agents(post, "/v1/agent/logout", s.postLogout, Doc{Summary: "End the session of the request."}, everybody...),
		agents(get, "/v1/agent/me", s.getMe, Doc{Summary: "Who you are.", Answer: presentMe{}}, everybody...),
		agents(post, "/v1/agent/presence", s.postPresence, Doc{Summary: "Say that you are there, or not.", Body: presenceBody{}, Answer: queue.Presence{}}),
		agents(get, "/v1/agent/queue", s.getQueue, Doc{Summary: "What waits, what you hold, what was set aside.", Answer: queueList{}, Query: map[string]string{
			"view": "queue, mine or captured", "queue": "only this one", "limit": "how many at most", "cursor": "that of the page before",
		}}),
		agents(get, "/v1/agent/colleagues", s.getColleagues, Doc{Summary: "Who can take conversations, and in which queues.", Answer: queue.Colleagues{}}),
		agents(get, conv, s.getConversation, Doc{Summary: "Everything about a conversation.", Answer: queue.Context{}, Query: window}),
		agents(get, conv+"/earlier/{earlier}", s.getEarlier, Doc{Summary: "An earlier conversation of the same customer.", Answer: queue.Past{}, Query: window}),
		act("claim", s.postClaim, claimBody{}, "Make a conversation yours.", "409 already_claimed", noRoom, stale),
		act("reply", s.postReply, replyBody{}, "Say something to the customer.", notOwner, stale, "409 window_closed"),
		act("undo", s.postUndo, undoBody{}, "Take a held reply back.", notOwner, stale),
		act("resend", s.postResend, resendBody{}, "Send again, or give up, what did not leave.", notOwner, stale),
		act("note", s.postNote, noteBody{}, "Note something for colleagues.", stale),
		act("account", s.postAccount, emptyBody{}, "Ask your own system once more who the customer is.", "409 no_lookup", "502 lookup_failed"),
		act("transfer", s.postTransfer, transferBody{}, "Pass a conversation on.", notOwner, noRoom, stale),
		act("escalate", s.postEscalate, escalateBody{}, "Pass a conversation up.", notOwner, stale),
		act("release", s.postRelease, overrideBody{}, "Give a conversation back to the bot.", notOwner, stale, "409 return_limit"),
		act("resolve", s.postResolve, overrideBody{}, "Close a conversation.", notOwner, stale),
		act("snooze", s.postSnooze, snoozeBody{}, "Put a conversation aside.", notOwner, stale),
		agents(post, conv+"/typing", s.postTyping, Doc{Summary: "Show the customer that you type.", Codes: []string{notOwner}}),
		agents(get, conv+"/attachments/{attachment}", s.getAttachment, Doc{Summary: "A file, to save.", File: "*/*"}),
		{
			Method: get, Path: adminPath + "status", Access: People, Scope: ScopeStatus,
			Roles: []Role{RoleOwner, RoleAdmin, RoleSupervisor, RoleAuditor}, Handle: s.getStatus,
			Doc: Doc{Summary: "How the node is.", Answer: status{}},
		},
	}
}
