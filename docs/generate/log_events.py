"""The contract of the log: every event with its fields, and the OpenTelemetry name of each field.

`docs/logs.md` is generated from these tables, and a test compares them with the events that the source code logs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class LogField:
    """A field of log lines: its name, its meaning, and its OpenTelemetry name, by default `hkall.` and the name."""

    name: str
    about: str
    otel: str = ""

    @property
    def otel_name(self) -> str:
        """Return the OpenTelemetry name of the attribute or log record field."""
        return self.otel or f"hkall.{self.name}"


@dataclass(frozen=True, slots=True)
class LogEvent:
    """An event: its name, levels, meaning, and the fields that its lines may have in addition to those of the context."""

    name: str
    levels: str
    fields: str
    about: str


# fmt: off
FIELDS: Final = tuple(
    LogField(*row)
    for row in (
        # fields of every line
        ("ts",          "Instant, UTC, in milliseconds.",                                    "Timestamp"),
        ("hkt_date",    "The day in Hong Kong."),
        ("level",       "debug, info (it happened), warning (someone may need to act), error (someone must).", "SeverityText"),
        ("event",       "The event: a row of the table below.",                              "EventName"),
        # the context of the line
        ("channel",     "sip2, ncip, web, ils, cli, timer or courier; of a refused connection also ops."),
        ("corr_id",     "One conversation: from the message of a terminal or partner to the last delivery that it caused."),
        ("trace_id",    "The trace that our `traceparent` header names; computed from corr_id.", "TraceId"),
        ("traceparent", "The valid W3C `traceparent` of a partner's request."),
        ("request_id",  "The request, by our number."),
        ("partner",     "AgencyId of the partner."),
        ("patron_ref",  "The patron: twelve hex digits, a keyed hash of the card.",          "user.hash"),
        ("line",        "The connection to the library's own system."),
        ("terminal",    "Login of the terminal."),
        ("peer",        "Address of the caller; of an answered document its agency, or unknown."),
        ("host",        "Address of the caller of a document.",                              "client.address"),
        ("claimed",     "AgencyId that a document without a valid proof names."),
        ("actor",       "Terminal, partner, member of staff or round that caused a step."),
        ("msg_id",      "Its message: SIP2 code, NCIP service, command or round."),
        # the result
        ("step",        "The step of the life cycle."),
        ("from",        "Position of the request before."),
        ("to",          "Position of the request after."),
        ("position",    "Position of the request."),
        ("rule",        "Number of the rule that decided (docs/rules.md)."),
        ("outcome",     "Result: ok, problem, or the reason; of a delivery its kind."),
        ("ok",          "Whether the message was granted."),
        ("refused",     "Reason of the refusal."),
        ("reason",      "Reason, in words.",                                                 "error.message"),
        ("why",         "Reason, in words.",                                                 "error.message"),
        ("problem",     "NCIP ProblemType."),
        ("notes",       "Deviations from the standard that were tolerated."),
        ("errors",      "Every error of the configuration.",                                 "error.message"),
        ("exception",   "Traceback.",                                                        "exception.stacktrace"),
        ("trace",       "Traceback.",                                                        "exception.stacktrace"),
        ("said",        "A sentence of Twisted.",                                            "Body"),
        ("room",        "The part of Twisted that said it.",                                 "InstrumentationScope"),
        # messages
        ("code",        "SIP2 code of the reply, or of the message where there is none; of a page the HTTP status."),
        ("asked",       "SIP2 code of the question."),
        ("question",    "What the library's own system was asked."),
        ("service",     "NCIP service.",                                                     "rpc.method"),
        ("bytes",       "Size of the message.",                                              "http.request.body.size"),
        ("ms",          "Milliseconds from the message to its reply."),
        ("left_out",    "Lines of the same kind that were not written before this one."),
        ("verb",        "HTTP method.",                                                      "http.request.method"),
        ("page",        "Path of the page, without its numbers.",                            "http.route"),
        ("who",         "staff or patron."),
        ("login",       "Login of a terminal, or ours at the library's own system.",         "user.name"),
        ("kept",        "Whether the document was put into the quarantine."),
        ("date",        "A date as a partner named it."),
        ("reached",     "Whether the message reached the library's own system."),
        ("counters",    "What happened on the connection, by kind."),
        # deliveries
        ("kind",        "Kind of a delivery: ncip, mail or ils."),
        ("send",        "The notification that is delivered."),
        ("letter",      "Kind of the letter."),
        ("notice",      "Number of the letter."),
        ("attempt",     "Number of this try."),
        ("retry_at",    "Instant of the next try, UTC."),
        ("asked_by",    "The part that asks the library's own system: the connector or the relay."),
        ("down_since",  "Instant since when it did not answer."),
        ("again_at",    "Instant of the next try, UTC."),
        # the gateway itself
        ("job",         "Name of the round."),
        ("count",       "Number of rows that the round changed."),
        ("lag_s",       "Seconds by which the round was late."),
        ("step_s",      "Seconds by which the time of day was set forward, or back (negative)."),
        ("rows",        "Rows of a silent gateway that were taken over."),
        ("lines",       "Log lines that were dropped."),
        ("keys",        "Keys of the configuration."),
        ("units",       "Units of work in the transaction."),
        ("fate",        "What became of a transaction: committed, aborted or unknown."),
        ("lane",        "The database worker: its thread.",                                  "thread.name"),
        ("port",        "Port.",                                                             "server.port"),
        ("ports",       "Number of certificates."),
        ("listening",   "Number of open endpoints."),
        ("terminals",   "Number of terminals in the configuration."),
        ("partners",    "Number of partners in the configuration."),
        ("version",     "Version of the gateway.",                                           "service.version"),
        ("log_version", "Version of this contract."),
        ("instance",    "Name of this gateway.",                                             "service.instance.id"),
        ("source",      "Where it came from: a file, an address or a system."),
        ("word",        "A word of another system that no table knows."),
        ("protocol",    "Name of the protocol of partners, as in `[[partners]]`."),
        ("copies",      "Number of copies with it."),
        ("limit_s",     "Seconds that were allowed."),
        ("again_in_s",  "Seconds until it is tried again."),
        ("silent_s",    "Seconds without an answer."),
        ("detail",      "Further words."),
        ("agency",      "Agency of a simulated partner."),
    )
)

EVERY_LINE: Final = ("ts", "hkt_date", "level", "event")

CONTEXTS: Final[Mapping[str, str]] = {
    "a message of a terminal":   "channel terminal corr_id",
    "a partner's document":      "channel corr_id traceparent",
    "a delivery of the courier": "corr_id trace_id request_id partner patron_ref line",
    "a page":                    "channel corr_id",
}
"""Fields that every line has if it is written during such work."""

_STEP = "step request_id from to rule outcome partner patron_ref actor channel msg_id corr_id"
_SENT = "kind send attempt outcome"

EVENTS: Final = tuple(
    LogEvent(*row)
    for row in (
        ("transition",                "info",    _STEP,                             "A step of a request was committed."),
        ("decision.refused",          "info",    _STEP,
            "A rule refused a step; nothing was changed."),
        ("request.stands_still",      "warning", "request_id position partner",
            "A request stands in its position for too long."),
        ("command.expired",           "warning", "why",
            "A command was dropped before it began: late (its caller was told to try again) or gone (its caller hung up)."),
        ("sip2.opened",               "info",    "channel peer",                    "A terminal connected."),
        ("sip2.answered",             "info",    "channel terminal corr_id code ok ms peer request_id refused rule",
            "A message was answered."),
        ("sip2.closed",               "info",    "channel peer terminal why counters", "A terminal's connection ended."),
        ("sip2.login_refused",        "warning", "login reason peer",               "A terminal gave a wrong login."),
        ("sip2.pin_wrong",            "warning", "code patron_ref peer",            "A PIN was wrong."),
        ("sip2.not_admitted",         "warning", "channel peer why detail",         "A connection was refused."),
        ("sip2.undecided",            "error",   "code",
            "A command had begun, and its outcome was not known in time; the connection was closed without an answer."),
        ("sip2.failed",               "error",   "code exception",
            "A bug; the terminal got a negative reply."),
        ("sip2.line_failed",          "error",   "channel peer exception",          "A bug; the connection was closed."),
        ("sip2.not_told_to_ils",      "warning", "code request_id reached",
            "The library's own system did not confirm a step that was done here."),
        ("sip2.ils_did_not_answer",   "warning", "code",
            "A message for the library's own system got no answer."),
        ("sip2.ils_named_another",    "error",   "code",
            "A success from the library's own system named another patron or item; it was not passed on."),
        ("sip2.ils_hung_up",          "warning", "code asked",
            "The library's own system closed the connection at a message."),
        ("ncip.answered",             "info warning",
            "peer service ms bytes claimed notes left_out outcome problem rule reason host",
            "A document was answered."),
        ("ncip.pin_wrong",            "warning", "peer service patron_ref",         "A PIN was wrong."),
        ("ncip.not_admitted",         "warning", "channel peer why detail",         "A connection was refused."),
        ("ncip.too_long",             "warning", "host bytes",                      "A document was longer than allowed."),
        ("peers.too_long",            "warning", "protocol host bytes",
            "A document in another protocol of partners was longer than allowed."),
        ("peers.too_late",            "warning", "protocol",
            "Such a document was not answered in time; the partner may repeat it."),
        ("peers.undecided",           "error",   "protocol",
            "The command of such a document had begun, and its outcome was not known in time; the connection was closed."),
        ("peers.handler_failed",      "error",   "protocol exception",
            "The program of another protocol failed; the partner was asked to try again."),
        ("ncip.too_late",             "warning", "service",
            "A document was not answered in time; the partner may repeat it."),
        ("ncip.undecided",            "error",   "service",
            "A document's command had begun, and its outcome was not known in time; the connection was closed."),
        ("ncip.quarantined",          "warning", "peer service reason kept",
            "A document about an unknown request, or one that contradicts our record, waits for staff."),
        ("ncip.date_not_believed",    "warning", "peer service date",
            "A document names an impossible date, which is read as if it were missing."),
        ("ncip.reply_tolerated",      "info",    "partner service notes",
            "A partner's reply deviates from the standard."),
        ("ncip.keys_unreadable",      "error",   "source reason",
            "The public keys of a partner cannot be read."),
        ("ncip.reading_failed",       "error",   "bytes exception",                 "A bug in reading a document."),
        ("ncip.handler_failed",       "error",   "service exception",               "A bug in handling a document."),
        ("ncip.writing_failed",       "error",   "service exception",               "A bug in writing a reply."),
        ("courier.sent",              "info warning", f"{_SENT} problem why",
            "A message was delivered; warning: it cannot be, and is not tried again."),
        ("courier.not_needed",        "info",    f"{_SENT} why",
            "A message need not be delivered any more."),
        ("courier.failed",            "warning", f"{_SENT} why retry_at",
            "A delivery failed; it will be tried again."),
        ("courier.dead",              "error",   f"{_SENT} why",
            "A message was given up; staff must settle it."),
        ("courier.channel_fault",     "error",   f"{_SENT} problem why",
            "A partner refuses our secret, agency, version or service."),
        ("courier.carrier_failed",    "error",   "kind send exception",
            "A bug in a delivery; it will be tried again."),
        ("courier.look_failed",       "error",   "exception",                       "A bug in reading the outbox."),
        ("courier.bug",               "error",   "trace",                           "A bug in the courier."),
        ("mail.letter_not_composed",  "error",   "notice letter exception",         "A letter cannot be written."),
        ("ils.up",                    "info",    "channel asked_by down_since",     "The library's own system answers again."),
        ("ils.down",                  "warning", "channel asked_by why",
            "The library's own system does not answer; it is left alone for a while."),
        ("ils.missed",                "info",    "channel asked_by question why",
            "A question to the library's own system got no answer."),
        ("ils.login_refused",         "error",   "channel asked_by login why again_at",
            "The library's own system refuses our login."),
        ("ils.login_taken",           "info",    "channel asked_by login",
            "The library's own system accepts our login again."),
        ("ils.trial_failed",          "error",   "channel asked_by trace",
            "A bug in trying the library's own system."),
        ("availability.word_unknown", "warning", "source word copies",
            "A system uses an availability word that no table knows."),
        ("timer.run",                 "info",    "job count lag_s",                 "A round ran."),
        ("timer.waits",               "warning", "job",                             "A round waits for the database."),
        ("timer.lost",                "warning", "job",                             "Another gateway took a round over."),
        ("timer.set_aside",           "error",   "job request_id exception",        "A bug; the round left out this request."),
        ("timer.failed",              "error",   "job exception",                   "A bug in a round."),
        ("timer.bug",                 "error",   "trace",                           "A bug in the timer."),
        ("database.commit_asked",     "warning", "fate units",
            "The answer to a COMMIT was lost; the database was asked whether it is committed."),
        ("outbox.unreadable",         "warning", "channel rows",
            "Unsent messages are spoilt, or a newer version wrote them: they are set aside for a minute."),
        ("database.lost",             "warning", "lane why",                        "The database does not answer."),
        ("database.refused",          "warning", "why",
            "The database refused messages: its disk is full, or its file was locked too long. At most once a minute."),
        ("database.back",             "info",    "lane",                            "The database answers again."),
        ("clock.stepped",             "warning", "step_s",
            "The time of day was set forward or back; what waited for a later time is done now."),
        ("instance.took_over",        "warning", "rows",                            "Work of a silent gateway was taken over."),
        ("instance.left_unseen",      "warning", "",
            "This gateway could not sign off in the database."),
        ("instance.beat_failed",      "error",   "exception",                       "A bug in the sign of life."),
        ("web.answered",              "info",    "verb page code peer ms",          "A page was answered."),
        ("web.page_refused",          "warning", "who why peer left_out",
            "A page was refused before it took a thread; at most 30 lines a minute for each reason."),
        ("web.proxy_unreadable",      "warning", "peer",
            "A reverse proxy sent an X-Forwarded-For that names no address; at most once an hour."),
        ("web.form_refused",          "warning", "why",                             "A form came without a valid token."),
        ("web.login_refused",         "warning", "who outcome peer why",            "A login on the web was wrong."),
        ("live_status.failed",        "error",   "partner exception",
            "A bug in asking a partner about its copies."),
        ("web.not_admitted",          "warning", "channel peer why detail",         "A connection was refused."),
        ("web.desk_too_slow",         "warning", "limit_s",                         "A page waited too long for its data."),
        ("web.database_silent",       "warning", "limit_s",
            "The database does not answer; pages are answered 503 until it does."),
        ("web.undecided",             "error",   "",
            "A page's command had begun, and its outcome was not known in time; the page said so."),
        ("web.failed",                "error",   "exception",                       "A bug in a page."),
        ("ops.not_admitted",          "warning", "channel peer why detail",         "A connection was refused."),
        ("tls.renewed",               "info",    "ports",                           "Certificates were read again."),
        ("tls.not_renewed",           "error",   "port why",
            "A certificate cannot be read; the former one stays."),
        ("config.changed",            "info",    "terminals partners",              "The configuration was read again."),
        ("config.secrets_changed",    "info",    "keys",
            "Secrets were read again, from the environment file or from credentials."),
        ("config.needs_restart",      "warning", "keys",
            "Changed keys keep their old values until a restart."),
        ("config.not_changed",        "error",   "errors exception",
            "The configuration has errors, or a bug stopped the reload; the former one stays."),
        ("daemon.started",            "info",    "version log_version instance listening",
            "The gateway serves; the pages' process has a line of its own before."),
        ("daemon.not_started",        "error",   "why exception",                   "The gateway cannot start, and ends."),
        ("pages.ended",               "error",   "why again_in_s",
            "The pages' process ended; another one is started. Terminals and partners are not concerned."),
        ("pages.silent",              "error",   "silent_s",
            "The pages' process did not answer and is ended; another one is started."),
        ("pages.bug",                 "error",   "trace",
            "A bug between the gateway and its pages' process."),
        ("daemon.stopped",            "info",    "",                                "The gateway ended."),
        ("daemon.stop_failed",        "error",   "exception",                       "A bug at the end."),
        ("log.dropped",               "warning", "lines",
            "The destination of the log could not keep up."),
        ("log.not_reopened",          "error",   "why",
            "The log's file cannot be opened again after a rotation; the former one stays in use."),
        ("lab.partner_failed",        "error",   "agency exception",
            "A bug in a simulated partner (demo and tests only)."),
        ("twisted.said",              "debug",   "said room",                       "A message of Twisted."),
        ("twisted.warned",            "warning", "said room",                       "A warning of Twisted."),
        ("twisted.failed",            "error",   "said room exception",             "An error that Twisted caught."),
    )
)
# fmt: on
