-- Tables as commit c1f4840 made them
CREATE TABLE perennial_feedback (
  prediction_id VARCHAR(128) NOT NULL,
  label FLOAT NOT NULL,
  received_us BIGINT NOT NULL,
  PRIMARY KEY (prediction_id)
);
CREATE TABLE perennial_intent (
  seq INTEGER NOT NULL,
  id VARCHAR(200) NOT NULL,
  release_id VARCHAR(64) NOT NULL,
  body TEXT NOT NULL,
  PRIMARY KEY (seq),
  UNIQUE (id)
);
CREATE TABLE perennial_ledger (
  seq INTEGER NOT NULL,
  model VARCHAR(128) NOT NULL,
  entry TEXT NOT NULL,
  previous VARCHAR(64) NOT NULL,
  hash VARCHAR(64) NOT NULL,
  PRIMARY KEY (seq)
);
CREATE TABLE perennial_ledger_head (
  id INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  hash VARCHAR(64) NOT NULL,
  PRIMARY KEY (id)
);
CREATE TABLE perennial_release (
  release_id VARCHAR(64) NOT NULL,
  model VARCHAR(128) NOT NULL,
  started_us BIGINT NOT NULL,
  revision INTEGER NOT NULL,
  phase VARCHAR(32) NOT NULL,
  body TEXT NOT NULL,
  PRIMARY KEY (release_id)
);
CREATE INDEX perennial_feedback_received ON perennial_feedback (received_us);
CREATE INDEX perennial_intent_release ON perennial_intent (release_id);
CREATE INDEX perennial_ledger_model ON perennial_ledger (model);
CREATE INDEX perennial_release_model ON perennial_release (model, started_us);
INSERT INTO perennial_feedback (prediction_id, label, received_us) VALUES ('p1', 1.0, 1795248000123456);
INSERT INTO perennial_feedback (prediction_id, label, received_us) VALUES ('p2', 0.0, 1795248000123456);
INSERT INTO perennial_intent (seq, id, release_id, body) VALUES (1, 'i1', 'r1', '{"id":"i1","release_id":"r1","kind":"approve","actor":"bob","at":"2026-11-21T08:00:00.123456Z","digest":"dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd","note":"","channel":"cli"}');
INSERT INTO perennial_ledger (seq, model, entry, previous, hash) VALUES (1, 'test_failure_predictor', '{"actor":"ann","at":"2026-11-21T08:00:00.123456Z","digest":"dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd","kind":"release.opened","model":"test_failure_predictor","payload":{"n":1.5,"reason":"grüße","release_id":"r1"},"release_id":null}', '0000000000000000000000000000000000000000000000000000000000000000', '6456496806c0089fe6614f50befeacfe7d7f962cc78a47a5101f1b50d161dd5f');
INSERT INTO perennial_ledger (seq, model, entry, previous, hash) VALUES (2, 'test_failure_predictor', '{"actor":"ann","at":"2026-11-21T08:01:00.123456Z","digest":"dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd","kind":"release.approved","model":"test_failure_predictor","payload":{"n":1.5,"reason":"grüße","release_id":"r1"},"release_id":null}', '6456496806c0089fe6614f50befeacfe7d7f962cc78a47a5101f1b50d161dd5f', 'f61f4198c6b52d3ee6f67212555ebc112aeaf1137b20f74d6c98e3d41766af48');
INSERT INTO perennial_ledger (seq, model, entry, previous, hash) VALUES (3, 'test_failure_predictor', '{"actor":"ann","at":"2026-11-21T08:02:00.123456Z","digest":"dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd","kind":"release.promoted","model":"test_failure_predictor","payload":{"n":1.5,"reason":"grüße","release_id":"r1"},"release_id":null}', 'f61f4198c6b52d3ee6f67212555ebc112aeaf1137b20f74d6c98e3d41766af48', '563b8a61ce3c682c05a309a7e9e24ad83a6cfe5d8243f9125d06d24525dc31ff');
INSERT INTO perennial_ledger_head (id, seq, hash) VALUES (1, 3, '563b8a61ce3c682c05a309a7e9e24ad83a6cfe5d8243f9125d06d24525dc31ff');
INSERT INTO perennial_release (release_id, model, started_us, revision, phase, body) VALUES ('r1', 'test_failure_predictor', 1795248000123456, 0, 'PENDING', '{"release_id":"r1","candidate":{"model":"test_failure_predictor","version":"1.0.0","key":"1","digest":"dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd","capsule":"c"},"champion":null,"champion_release_id":null,"policy":{"strategy":"canary","shadow":"PT1H","steps":[{"weight":5.0,"duration":"PT6H"},{"weight":20.0,"duration":"PT12H"},{"weight":50.0,"duration":"P1D"}],"hold":"PT1H","ab":{"weight":50.0,"sample":5000,"duration":"P1D","mismatch":0.001},"sticky":{"header":"x-user-id","cookie":null,"cookie_age":"P30D","experiment":null},"criteria":{"min_requests":100,"error_rate_max":0.05,"error_rate_increase":0.01,"latency_p95_ratio":1.5,"latency_p95_floor_ms":100.0,"accuracy_drop":0.05,"min_labels":100,"confidence":0.95,"max_errors_in_a_row":10},"unsure_after":"P1D","keep_previous":true},"approval_policy":{"low_risk":0,"medium_risk":1,"high_risk":2,"lapses_after":"P7D","anonymous_tag":false},"policy_digest":"","spec_digest":"","servers":1,"started_at":"2026-11-21T08:00:00.123456Z","phase":"PENDING","step":0,"entered_at":"2026-11-21T08:00:00.123456Z","gate":null,"asked_by":[],"approvals":[],"pauses":[],"consumed":[],"errors_in_a_row":0,"last_error_at":null,"counted":{},"baseline":{},"before":null,"accuracy":{},"accuracy_at":null,"units":null,"evidence":[],"outcome":null,"note":"","revision":0}');
