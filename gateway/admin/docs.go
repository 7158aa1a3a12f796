package admin

import (
	"turnout/gateway/api"
	"turnout/gateway/privacy"
	"turnout/gateway/resource"
	"turnout/gateway/rulebook"
)

// Documented adds to rows what the OpenAPI document says of them. A row that has no entry here keeps its own.
func Documented(rows []api.Route) []api.Route {
	docs := docs()
	for i, r := range rows {
		if d, ok := docs[r.Method+" "+r.Path]; ok {
			rows[i].Doc = d
		}
	}
	return rows
}

// docs are the entries by method and path.
func docs() map[string]api.Doc {
	const stale, managed, exists, invalid = "409 stale", "409 " + CodeManagedByFile, "409 exists", "422 " + CodeInvalidConfig
	page := func(more map[string]string) map[string]string {
		q := map[string]string{"limit": "how many items at most", "cursor": "that of the page before"}
		for k, v := range more {
			q[k] = v
		}
		return q
	}
	change := []string{stale, managed, invalid}
	user := []string{stale, managed, invalid, exists}
	const at = " /v1/admin/"
	return map[string]api.Doc{
		"GET" + at + "audit/export":      {Summary: "The audit log up to now, to verify anywhere.", File: "application/jsonl"},
		"GET" + at + "node/audit/export": {Summary: "The operator's own audit log.", File: "application/jsonl"},
		"GET" + at + "export/conversations": {
			Summary: "Conversations, one a line.", File: "application/jsonl, text/csv",
			Query: map[string]string{"format": "jsonl or csv", "from": "a day or an instant", "to": "a day or an instant", "text": "1: with what was said; recorded"},
		},
		"GET" + at + "export/metrics": {
			Summary: "Figures by day and channel, one a line.", File: "application/jsonl, text/csv",
			Query: map[string]string{"format": "jsonl or csv", "from": "a day or an instant", "to": "a day or an instant"},
		},
		"GET" + at + "audit/key": {Summary: "The key with which checkpoints are verified.", Answer: verifierKey{}},
		"GET" + at + "conversations/{id}/replay": {
			Summary: "What was decided in a conversation.", Answer: Replayed{},
			Query: map[string]string{"text": "1: with what was said; recorded", "recompute": "1: judge again and compare"},
			Codes: []string{"413 too_large"},
		},
		"GET" + at + "outbox": {Summary: "How the channels that send do.", Answer: channelList{}},
		"GET" + at + "dead-letters": {
			Summary: "Messages that could not be delivered.", Answer: deadLetterList{},
			Query: map[string]string{"limit": "how many at most", "after": "the next of the page before"},
		},
		"POST" + at + "dead-letters/{id}/replay":  {Summary: "Put a message back.", Answer: deadLetter{}, Codes: []string{stale}},
		"POST" + at + "dead-letters/{id}/discard": {Summary: "Give a message up.", Answer: deadLetter{}, Codes: []string{stale}},

		"GET" + at + "rules":              {Summary: "The rules in force.", Answer: inForce{}, Codes: []string{"404 not_found"}},
		"GET" + at + "rules/versions":     {Summary: "Versions of the rules, the newest first.", Answer: ruleVersions{}, Query: map[string]string{"before": "older than this version", "limit": "how many at most"}, Codes: []string{"404 not_found"}},
		"GET" + at + "rules/versions/{n}": {Summary: "A version with its files.", Answer: ruleSources{}},
		"GET" + at + "rules/diff":         {Summary: "What is different between two versions.", Answer: changed{}, Query: map[string]string{"from": "a version", "to": "a version; 0: the one in force"}, Codes: []string{"404 not_found"}},
		"POST" + at + "rules/check":       {Summary: "Check rules, and what they would change.", Body: proposal{}, Answer: checked{}, Codes: []string{"404 not_found"}},
		"POST" + at + "rules/publish":     {Summary: "Publish rules.", Body: proposal{}, Answer: rulebook.Published{}, Codes: []string{stale, "404 not_found"}},
		"POST" + at + "rules/rollback":    {Summary: "Bring a version back.", Body: rollback{}, Answer: rulebook.Published{}, Codes: []string{stale, "404 not_found"}},
		"GET" + at + "rules/explain/{id}": {Summary: "Why a conversation was judged as it was.", Answer: explanations{}, Query: map[string]string{"seq": "one judgement", "rule": "one rule"}},

		"POST" + at + "reload":                       {Summary: "Read the files again: all that they say, or nothing.", Answer: resource.Applied{}, Codes: change},
		"GET" + at + "resources":                     {Summary: "What the tenant consists of.", Answer: resourceList{}, Query: page(map[string]string{"kind": "only this kind"})},
		"POST" + at + "resources":                    {Summary: "Change several resources together.", Body: applyBody{}, Answer: resource.AppliedTenant{}, Codes: append(change, "404 not_found")},
		"GET" + at + "resources/{kind}/{id}":         {Summary: "A resource.", Answer: oneResource{}},
		"PUT" + at + "resources/{kind}/{id}":         {Summary: "Make or change a resource that no file has.", Body: resourceBody{}, Answer: resource.AppliedTenant{}, Codes: change},
		"DELETE" + at + "resources/{kind}/{id}":      {Summary: "Remove a resource that no file has.", Answer: resource.AppliedTenant{}, Codes: change},
		"GET" + at + "versions":                      {Summary: "Versions of the configuration, the newest first.", Answer: versionList{}, Query: page(nil)},
		"GET" + at + "versions/{id}":                 {Summary: "A version of the configuration.", Answer: wholeVersion{}},
		"POST" + at + "erasures":                     {Summary: "Erase a person.", Body: erasureBody{}, Answer: erasureAnswer{}, Codes: []string{"404 not_found", "409 " + CodeLegalHold, "409 " + CodeMustReachHuman, "410 " + api.CodeErased}},
		"GET" + at + "erasures":                      {Summary: "Erasures, the oldest first.", Answer: erasureList{}, Query: page(nil)},
		"GET" + at + "erasures/{id}":                 {Summary: "How far an erasure has come.", Answer: erasureAnswer{}},
		"POST" + at + "persons/export":               {Summary: "Everything that is held of a person.", Body: copyBody{}, File: "application/zip, application/jsonl", Codes: []string{"404 not_found", "410 " + api.CodeErased}},
		"GET" + at + "holds":                         {Summary: "Legal holds, the oldest first.", Answer: holdList{}, Query: page(nil)},
		"POST" + at + "holds":                        {Summary: "Keep something from being destroyed.", Body: holdBody{}, Answer: privacy.Hold{}, Codes: []string{"404 not_found", "410 " + api.CodeErased}},
		"POST" + at + "holds/{id}/lift":              {Summary: "Lift a legal hold."},
		"GET" + at + "retention":                     {Summary: "How long what is kept, and the last run.", Answer: retentionAnswer{}},
		"POST" + at + "retention/dry-run":            {Summary: "What a run would destroy now.", Answer: privacy.Run{}},
		"POST" + at + "node/backup":                  {Summary: "Copy the store into a new folder; a line now and then, and a last one.", Body: backupBody{}, File: "application/jsonl"},
		"POST" + at + "node/check":                   {Summary: "Read everything in the store; the last line tells what is wrong.", File: "application/jsonl"},
		"GET" + at + "secrets":                       {Summary: "The names of sealed secrets.", Answer: secretList{}, Query: page(nil)},
		"PUT" + at + "secrets/{id}":                  {Summary: "Set or rotate a sealed secret.", Body: secretBody{}, Answer: secretInfo{}, Codes: []string{stale, invalid}},
		"DELETE" + at + "secrets/{id}":               {Summary: "Remove a sealed secret that nothing uses.", Codes: []string{"409 " + CodeInUse}},
		"GET" + at + "tenants":                       {Summary: "The tenants of the node.", Answer: tenantList{}, Query: page(nil)},
		"POST" + at + "tenants":                      {Summary: "Make a tenant.", Body: tenantBody{}, Answer: tenantInfo{}, Codes: user},
		"DELETE" + at + "tenants/{id}":               {Summary: "Take a tenant out of service.", Codes: change},
		"GET" + at + "users":                         {Summary: "The tenant's people and programs.", Answer: userList{}, Query: page(nil)},
		"POST" + at + "users":                        {Summary: "Make somebody.", Body: userBody{}, Answer: userMade{}, Codes: user},
		"POST" + at + "users/{id}/disable":           {Summary: "Shut somebody out.", Answer: userInfo{}, Codes: change},
		"POST" + at + "users/{id}/enable":            {Summary: "Let somebody in again.", Answer: userInfo{}, Codes: change},
		"POST" + at + "users/{id}/password":          {Summary: "Give somebody another password.", Body: passwordBody{}, Answer: userMade{}, Codes: change},
		"POST" + at + "users/{id}/keys":              {Summary: "Make an API key; it is shown once.", Body: keyBody{}, Answer: keyMade{}, Codes: user},
		"POST" + at + "users/{id}/keys/{key}/rotate": {Summary: "Give a key another secret; it is shown once.", Body: rotateBody{}, Answer: keyMade{}, Codes: change},
		"DELETE" + at + "users/{id}/keys/{key}":      {Summary: "End an API key.", Codes: change},
	}
}
