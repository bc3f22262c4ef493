//! Where this API answers otherwise than the recorded one. Why, `docs/durable-api.md` says: its list and this one have
//! the same names.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use crate::recording::Exchange;

#[derive(Debug, Clone, Copy)]
pub enum Deviation {
    /// Asked as it was recorded, and answered with this code.
    Answered { code: u16 },
    /// There is nothing here to ask.
    NotAsked,
}

struct Group {
    /// Its name in the list of the documentation.
    reason: &'static str,
    /// `None`: they are not asked.
    code: Option<u16>,
    /// With their lines.
    exchanges: &'static [(usize, &'static str)],
}

/// All of them, by the exchanges' lines.
pub fn by_line(exchanges: &BTreeMap<usize, Exchange>) -> BTreeMap<usize, Deviation> {
    let mut by_line = BTreeMap::new();
    for group in GROUPS {
        for (line, name) in group.exchanges {
            assert_eq!(exchanges[line].name(), *name, "line {line}");
            let deviation = group.code.map_or(Deviation::NotAsked, |code| Deviation::Answered { code });
            assert!(by_line.insert(*line, deviation).is_none(), "line {line} stands here twice");
        }
    }
    by_line
}

#[test]
fn every_deviation_has_its_reason_in_the_documentation_and_none_is_there_for_nothing() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/durable-api.md");
    let text = fs::read_to_string(file).unwrap();
    let (_, list) = text.split_once("## Where it differs").unwrap();
    let named = |line: &str| Some(line.strip_prefix("| `")?.split_once('`')?.0.to_owned());
    let explained: BTreeSet<String> = list.lines().filter_map(named).collect();
    let listed: BTreeSet<String> = GROUPS.iter().map(|group| group.reason.to_owned()).collect();
    assert_eq!(explained, listed);
}

const GROUPS: &[Group] = &[
    Group {
        reason: "starters",
        code: None,
        exchanges: &[
            (1, "starter: CreateCheckStatusResponse, generated id"),
            (2, "starter: CreateCheckStatusResponse, given id"),
            (3, "starter: CreateCheckStatusResponse(HttpRequest) -> IActionResult"),
            (4, "starter: CreateCheckStatusResponse returnInternalServerErrorOnFailure=true"),
            (5, "starter: CreateHttpManagementPayload as JSON"),
            (6, "starter: id with characters that need encoding"),
            (7, "starter: WaitForCompletionOrCreateCheckStatusResponse completes"),
            (8, "starter: WaitForCompletionOrCreateCheckStatusResponse times out"),
            (9, "starter: WaitForCompletionOrCreateCheckStatusResponse fails"),
            (10, "starter: WaitForCompletionOrCreateCheckStatusResponse fails, err500"),
            (11, "starter: behind a proxy: X-Forwarded-Host/-Proto (default useForwardedHost=false)"),
            (116, "start: starter function with the id of a running instance (StartNewAsync)"),
            (509, "path: starter function: id with a plus"),
            (581, "non-default-settings: starter, default hub name"),
            (582, "non-default-settings: starter behind a proxy, both headers"),
            (583, "non-default-settings: starter behind a proxy, host header only"),
            (584, "non-default-settings: starter behind a proxy, host with a port"),
        ],
    },
    Group {
        reason: "not-a-campaign",
        code: Some(400),
        exchanges: &[
            (75, "start: empty body, Content-Length 0"),
            (77, "start: no body, no Content-Length"),
            (79, "start: empty body but application/json"),
            (80, "start: white space body"),
            (82, "start: body null"),
            (84, "start: body a string"),
            (86, "start: body a number"),
            (88, "start: body an array"),
            (542, "json-fidelity: start with {\"big\":12345678901234567890,\"f\":1.10,\"e\":1E5,\"neg0\":-0.0,\"z\""),
            (544, "json-fidelity: start with {\"t\":\"2024-01-02T03:04:05.1200000+02:00\",\"u\":\"\\u00e9\\u2028\","),
            (550, "json-fidelity: start with {\"b\":1,\"a\":2,\"A\":3,\"\":4}"),
            (553, "json-fidelity: start with {\"$type\":\"System.Object, mscorlib\",\"x\":1}"),
            (555, "json-fidelity: start with \"\\ud83d\\ude00\""),
            (557, "json-fidelity: start with true"),
        ],
    },
    Group {
        reason: "lenient-json",
        code: Some(400),
        exchanges: &[
            (90, "start: invalid JSON: unclosed"),
            (93, "start: lenient JSON: single quotes"),
            (95, "start: lenient JSON: trailing comma"),
            (181, "raiseEvent: two JSON values"),
            (546, "json-fidelity: start with /*c*/ {\"a\":1} // end"),
            (548, "json-fidelity: start with [NaN,Infinity]"),
            (552, "json-fidelity: start with {\"deep\":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["),
            (559, "json-fidelity: start with 1e400"),
            (561, "json-fidelity: start with {a:1}"),
            (565, "json-fidelity: raiseEvent with {'a':1,}"),
            (567, "json-fidelity: raiseEvent with {\"deep\":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["),
        ],
    },
    Group {
        reason: "functions",
        code: Some(404),
        exchanges: &[
            (99, "start: unknown function"),
            (100, "start: unknown function, given id"),
            (104, "start: an activity instead of an orchestrator"),
        ],
    },
    Group {
        reason: "taken-ids",
        code: Some(409),
        exchanges: &[
            (110, "start: duplicate id, completed"),
            (112, "start: duplicate id, failed"),
            (114, "start: duplicate id, terminated"),
        ],
    },
    Group {
        reason: "ids",
        code: Some(400),
        exchanges: &[
            (117, "start: id beginning with @"),
            (119, "start: id with #"),
            (121, "start: id with ?"),
            (123, "start: id with backslash"),
            (125, "start: id with encoded slash"),
            (126, "start: id with a space"),
            (128, "start: id with plus"),
            (130, "start: id with %2B"),
            (132, "start: id with unicode"),
            (134, "start: id of 256 characters"),
            (136, "start: id of 257 characters"),
            (138, "start: id with a control character"),
            (140, "start: id with colon"),
            (142, "start: id with upper case"),
            (505, "path: start: id with a space and special characters"),
            (507, "path: start: id with an encoded plus"),
            (511, "path: id with double-encoded percent"),
        ],
    },
    Group {
        reason: "ids",
        code: Some(404),
        exchanges: &[
            (118, "start: ..its status"),
            (120, "start: ..its status"),
            (122, "start: ..its status"),
            (124, "start: ..its status"),
            (127, "start: ..its status"),
            (129, "start: ..its status"),
            (131, "start: ..its status"),
            (133, "start: ..its status"),
            (135, "start: ..its status"),
            (137, "start: ..its status"),
            (139, "start: ..its status"),
            (141, "start: ..its status"),
            (143, "start: ..its status"),
            (506, "path: follow its statusQueryGetUri"),
            (508, "path: follow its statusQueryGetUri"),
            (568, "location: Location of a running id with a space"),
            (569, "location: Location of a running id, %20 and an unknown parameter"),
        ],
    },
    Group { reason: "no-start", code: Some(404), exchanges: &[(161, "start-wait: ..its status")] },
    Group {
        reason: "events",
        code: Some(202),
        exchanges: &[
            (171, "raiseEvent: ..its status"),
            (195, "raiseEvent: event name with encoded characters"),
            (198, "raiseEvent: ..its status"),
        ],
    },
    Group { reason: "at-once", code: Some(200), exchanges: &[(213, "terminate: ..status at once")] },
    Group {
        reason: "reasons",
        code: Some(200),
        exchanges: &[(218, "terminate: ..its status"), (220, "terminate: ..its status")],
    },
    Group {
        reason: "nothing-to-do",
        code: Some(202),
        exchanges: &[(230, "suspend: twice"), (234, "resume: twice"), (236, "resume: never suspended")],
    },
    Group {
        reason: "at-once",
        code: Some(202),
        exchanges: &[
            (256, "rewind: ..status at once 0"),
            (257, "rewind: ..status at once 1"),
            (258, "rewind: ..status at once 2"),
            (275, "restart: ..the new instance at once"),
            (277, "restart: ..status at once"),
            (520, "path: ..its status"),
            (522, "status: ..at once"),
            (523, "status: ..at once, showHistory"),
        ],
    },
    Group {
        reason: "base",
        code: Some(404),
        exchanges: &[
            (303, "routing: the base itself"),
            (304, "routing: the base with slash"),
            (305, "routing: unknown segment"),
            (306, "routing: POST the base"),
            (313, "routing: double slash"),
        ],
    },
    Group { reason: "methods", code: Some(404), exchanges: &[(315, "routing: method in lower case")] },
    Group {
        reason: "elsewhere",
        code: Some(404),
        exchanges: &[
            (316, "routing: makeprimary"),
            (317, "routing: entities list"),
            (318, "routing: entity missing"),
            (422, "purge: entity-like id, missing"),
        ],
    },
    Group {
        reason: "elsewhere",
        code: None,
        exchanges: &[(319, "routing: another extension name"), (320, "routing: no such webhook path")],
    },
    Group {
        reason: "keys",
        code: None,
        exchanges: &[
            (321, "auth: no code"),
            (322, "auth: wrong code"),
            (323, "auth: empty code"),
            (326, "auth: no query at all"),
            (327, "auth: wrong code, unknown id"),
            (328, "auth: wrong code, POST"),
            (330, "auth: wrong code, OPTIONS"),
            (331, "auth: unknown path without code"),
        ],
    },
    Group {
        reason: "hubs",
        code: Some(200),
        exchanges: &[
            (333, "hub-connection: another task hub (does not exist)"),
            (335, "hub-connection: invalid hub name"),
            (337, "hub-connection: unknown connection"),
            (342, "hub-connection: list in a missing hub"),
            (345, "hub-connection: purge in a missing hub"),
        ],
    },
    Group {
        reason: "hubs",
        code: Some(202),
        exchanges: &[
            (343, "hub-connection: start in a missing hub"),
            (346, "hub-connection: start in the missing hub, second time"),
            (347, "hub-connection: ..Pending for ever in a hub without a worker"),
        ],
    },
    Group {
        reason: "status-words",
        code: Some(200),
        exchanges: &[
            (358, "list: runtimeStatus=Unknown"),
            (365, "list: numeric"),
            (366, "list: numeric, not an enum value"),
        ],
    },
    Group { reason: "times", code: Some(200), exchanges: &[(380, "list: US date")] },
    Group { reason: "top", code: Some(200), exchanges: &[(401, "list: top=-1")] },
    Group {
        reason: "purge",
        code: Some(404),
        exchanges: &[
            (435, "purge-many: runtimeStatus=Running"),
            (449, "purge-many: everything, no runtimeStatus"),
            (452, "purge-many: runtimeStatus=nonsense"),
            (575, "purge-many: runtimeStatus=Suspended (non-terminal words only) deletes everything in the window"),
            (577, "purge-many: runtimeStatus=Pending (non-terminal words only) deletes everything in the window"),
            (
                579,
                "purge-many: runtimeStatus=Running,Pending,Suspended (non-terminal words only) deletes everything in the window",
            ),
        ],
    },
    Group {
        reason: "purge",
        code: Some(200),
        exchanges: &[
            (436, "list: ..what is left"),
            (438, "list: ..what is left"),
            (447, "purge-many: instanceIdPrefix is ignored?"),
            (448, "list: ..what is left"),
            (450, "list: ..what is left (Running and Suspended must survive)"),
            (453, "list: ..what is left"),
        ],
    },
    Group { reason: "pending", code: Some(409), exchanges: &[(460, "pending: suspend"), (462, "pending: resume")] },
    Group {
        reason: "pending",
        code: Some(404),
        exchanges: &[(468, "pending: ..its status"), (470, "pending: purge many")],
    },
    Group { reason: "pending", code: Some(200), exchanges: &[(469, "pending: list runtimeStatus=Pending")] },
    Group {
        reason: "other-states",
        code: None,
        exchanges: &[
            (472, "status-forced: Canceled"),
            (473, "status-forced: Canceled: terminate"),
            (474, "status-forced: Canceled: suspend"),
            (475, "status-forced: Canceled: resume"),
            (476, "status-forced: Canceled: rewind"),
            (477, "status-forced: Canceled: raiseEvent/X"),
            (478, "status-forced: Canceled: duplicate start"),
            (479, "status-forced: Canceled: restart, same id"),
            (480, "status-forced: Canceled: list"),
            (481, "status-forced: Canceled: purge"),
            (483, "status-forced: ContinuedAsNew"),
            (484, "status-forced: ContinuedAsNew: terminate"),
            (485, "status-forced: ContinuedAsNew: suspend"),
            (486, "status-forced: ContinuedAsNew: resume"),
            (487, "status-forced: ContinuedAsNew: rewind"),
            (488, "status-forced: ContinuedAsNew: raiseEvent/X"),
            (489, "status-forced: ContinuedAsNew: duplicate start"),
            (490, "status-forced: ContinuedAsNew: restart, same id"),
            (491, "status-forced: ContinuedAsNew: list"),
            (492, "status-forced: ContinuedAsNew: purge"),
            (494, "status-forced: Nonsense"),
            (495, "status-forced: Nonsense: terminate"),
            (496, "status-forced: Nonsense: suspend"),
            (497, "status-forced: Nonsense: resume"),
            (498, "status-forced: Nonsense: rewind"),
            (499, "status-forced: Nonsense: raiseEvent/X"),
            (500, "status-forced: Nonsense: duplicate start"),
            (501, "status-forced: Nonsense: restart, same id"),
            (502, "status-forced: Nonsense: list"),
            (503, "status-forced: Nonsense: purge"),
        ],
    },
    Group {
        reason: "own-tests",
        code: None,
        exchanges: &[
            (528, "list: default page size (summary): 105 instances"),
            (529, "start: eight concurrent starts with one id (summary)"),
            (570, "location: GET running with Host: my.example:8080"),
            (571, "location: POST start with Host: my.example:8080"),
        ],
    },
    Group { reason: "lenient-json", code: Some(404), exchanges: &[(547, "json-fidelity: ..its status")] },
    Group {
        reason: "proxies",
        code: Some(202),
        exchanges: &[
            (585, "non-default-settings: management start behind a proxy"),
            (586, "non-default-settings: GET running behind a proxy (Location)"),
        ],
    },
    Group {
        reason: "settings",
        code: None,
        exchanges: &[
            (588, "non-default-settings: AnyState: duplicate start of a running id"),
            (589, "non-default-settings: ..its status"),
            (590, "non-default-settings: AnyState: restart of a running id"),
        ],
    },
];
