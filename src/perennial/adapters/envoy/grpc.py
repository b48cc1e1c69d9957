"""gRPC in Envoy: which calls may enter, for which model a call is, and how its status counts.

A gRPC call is answered with HTTP 200 and a `grpc-status`, and names its model in the message. Small Lua filters turn
it into what the routes, retries and statistics of REST know:

- the door lets only the methods of the service enter; everything else with a gRPC content type is a 415;
- after the body is read, the model and the version of the message become headers that the routes match;
- in the clusters, an answer gets the HTTP status of its `grpc-status`, so that Envoy counts and repeats it as over
  REST; the door gives the client back the 200 of gRPC.
"""

from __future__ import annotations

import json

from perennial.adapters.envoy.config import TYPE, Json
from perennial.serving import headers
from perennial.serving.protocol.grpc import paths
from perennial.serving.protocol.grpc.status import OF_ERROR, STATUSES

FIELDS = 10_000
"""Most fields of a message (inputs, their bytes, outputs, parameters) among which Envoy looks for the model's name; a
thousand cost about 0.1 ms. More than a server takes (`MOST_TENSORS`)."""

OWN_ANSWERS = (400, 408, 413, 429, 504)
"""HTTP statuses of answers that Envoy gives itself whose gRPC status in its own mapping is another, or UNKNOWN."""

_REFUSE = """
local function refuse(handle, status, text)
  handle:respond({[":status"] = "200", ["grpc-status"] = status}, text)
end
"""

_DOOR = """
local methods = %(methods)s
local kinds = {["application/grpc"] = true, ["application/grpc+proto"] = true}
function envoy_on_request(handle)
  local headers = handle:headers()
  local path = headers:get(":path")
  local call = kinds[headers:get("content-type")] and headers:get(":method") == "POST"
  if not call or path:sub(1, %(length)d) ~= "%(prefix)s" then
    handle:respond({[":status"] = "415"}, "gRPC is served for %(service)s only; elsewhere send application/json")
    return
  end
  handle:streamInfo():dynamicMetadata():set("perennial.grpc", "call", "true")
  local unfit = {}
  for name, _ in pairs(headers) do
    if name:find("[^%%w_.:-]") or name:sub(-4) == "-bin" then unfit[#unfit + 1] = name end
  end
  for _, name in ipairs(unfit) do headers:remove(name) end
  if not methods[path] then
    refuse(handle, "12", "no method of %(service)s that is served here")
  end
end
function envoy_on_response(handle)
  local headers = handle:headers()
  if headers:get("grpc-status") then
    if handle:streamInfo():dynamicMetadata():get("perennial.grpc") then
      headers:replace(":status", "200")
    else
      headers:replace(":status", "415")
      headers:remove("grpc-status")
    end
  end
end
"""
"""Lua: Envoy answers gRPC with 200 and a `grpc-status`, also where it refuses what is no call of the service; the
second function ends that. In a call it undoes the status that a cluster gave the answer.

A gRPC server answers UNKNOWN, an error of the version, to a header whose name gRPC does not allow and to one that
ends in `-bin` and is no base64: both kinds are removed, no server reads them."""

_MODEL = """
local of_model = %(of_model)s
local fixed = {[1] = 8, [5] = 4}

-- Read a varint of up to 9 bytes at a place of the text; nil where there is none.
local function varint(text, place)
  local value, factor = 0, 1
  for at = place, place + 8 do
    local byte = text:byte(at)
    if byte == nil then return nil end
    value = value + (byte %% 128) * factor
    if byte < 128 then return value, at + 1 end
    factor = factor * 128
  end
  return nil
end

-- Return fields 1 and 2 of the message (the last of each, as a parser does), or nil and what is wrong.
local function named(body, first, size)
  local fields = {[1] = "", [2] = ""}
  local at = first
  for _ = 1, %(fields)d do
    if at == size then return fields end
    local head = body:getBytes(at, math.min(20, size - at))
    local tag, place = varint(head, 1)
    if tag == nil then return nil, "the message is no protobuf" end
    local number, wire = math.floor(tag / 8), tag %% 8
    local length, start = fixed[wire], place
    if wire == 0 or wire == 2 then length, start = varint(head, place) end
    if wire == 0 and length then length = 0 end
    if length == nil or at + start - 1 + length > size then return nil, "the message is no protobuf" end
    at = at + start - 1
    if wire == 2 and (number == 1 or number == 2) then
      if length > 128 then return nil, "the name of the model or version is too long" end
      fields[number] = length > 0 and body:getBytes(at, length) or ""
    end
    at = at + length
  end
  if at == size then return fields end
  return nil, "the message has more than %(fields)d fields"
end

function envoy_on_request(handle)
  local body = handle:body()
  local headers = handle:headers()
  local size = body and body:length() or 0
  if size < 5 then
    refuse(handle, "3", "the call has no message")
    return
  end
  if handle:trailers() then  -- of which a server would answer some with UNKNOWN
    refuse(handle, "3", "a call has no trailers")
    return
  end
  local frame = body:getBytes(0, 5)
  local length = ((frame:byte(2) * 256 + frame:byte(3)) * 256 + frame:byte(4)) * 256 + frame:byte(5)
  if frame:byte(1) ~= 0 then
    refuse(handle, "12", "compressed messages are not served: send them plain")
    return
  end
  if length + 5 ~= size then
    refuse(handle, "3", "the call has not exactly one whole message")
    return
  end
  headers:replace("te", "trailers")  -- of the router: those of clients are removed
  if of_model[headers:get(":path")] then
    local fields, problem = named(body, 5, size)
    if fields == nil then
      refuse(handle, "3", problem)
    elseif fields[1] == "" then
      refuse(handle, "3", "the message names no model")
    elseif fields[1]:find("[^%%w._-]") or fields[2]:find("[^%%w.+_-]") then
      refuse(handle, "5", "no such model or version")
    else
      headers:replace("%(model)s", fields[1])
      if fields[2] ~= "" then headers:replace("%(version)s", fields[2]) end
      handle:clearRouteCache()
    end
  end
end
"""

_STATUS = """
local codes = %(codes)s
function envoy_on_response(handle)
  local headers = handle:headers()
  local code = codes[headers:get("grpc-status")]
  if code then headers:replace(":status", code) end
end
"""


def door() -> Json:
    """Return the filter that lets in the calls of the service and refuses other gRPC with 415.

    Envoy counts an answer without `grpc-status` to a request with a gRPC content type as a failure of the server.
    Requests without such a content type skip the filter.
    """
    prefix = paths.path("")
    served = [paths.path(method) for method in (*paths.OF_MODEL, *paths.OF_SERVER, *paths.OF_REPOSITORY)]
    return _of_grpc(
        "door",
        _REFUSE
        + _DOOR
        % {"methods": _set(served), "length": len(prefix), "prefix": prefix, "service": paths.SERVICE},
    )


def model_of_call() -> Json:
    """Return the filter that puts the model and the version of a call into headers; comes after the buffer."""
    return _of_grpc(
        "model",
        _REFUSE
        + _MODEL
        % {
            "of_model": _set([paths.path(method) for method in paths.OF_MODEL]),
            "fields": FIELDS,
            "model": headers.CALLED_MODEL,
            "version": headers.CALLED_VERSION,
        },
    )


def upstream_filters() -> list[Json]:
    """Return the filters of a cluster of gRPC servers."""
    codes = "{" + ", ".join(f'["{status.code}"] = "{status.counted}"' for status in STATUSES) + "}"
    codec = "extensions.filters.http.upstream_codec.v3.UpstreamCodec"
    return [
        _lua(_STATUS % {"codes": codes}),
        {"name": "envoy.filters.http.upstream_codec", "typed_config": {"@type": TYPE + codec}},
    ]


def local_replies() -> Json:
    """Return the gRPC status of the answers that Envoy gives itself to a call."""
    is_grpc = {
        "header_filter": {"header": {"name": "content-type", "string_match": {"prefix": "application/grpc"}}}
    }

    def of_status(status: int) -> Json:
        value = {"default_value": status, "runtime_key": f"perennial.grpc_status_{status}"}
        return {"status_code_filter": {"comparison": {"value": value}}}

    return {
        "mappers": [
            {
                "filter": {"and_filter": {"filters": [of_status(status), is_grpc]}},
                "headers_to_add": [
                    {
                        "header": {"key": "grpc-status", "value": str(OF_ERROR[status].code)},
                        "append_action": "ADD_IF_ABSENT",
                    }
                ],
            }
            for status in OWN_ANSWERS
        ]
    }  # fmt: skip


def _of_grpc(name: str, code: str) -> Json:
    """Return a Lua filter that requests without a gRPC content type skip."""
    kind = {
        "name": "content-type",
        "typed_config": {
            "@type": f"{TYPE}type.matcher.v3.HttpRequestHeaderMatchInput",
            "header_name": "content-type",
        },
    }
    is_grpc = {
        "single_predicate": {
            "input": kind,
            "value_match": {"prefix": "application/grpc", "ignore_case": True},
        }
    }
    skip = {
        "name": "skip",
        "typed_config": {"@type": f"{TYPE}extensions.filters.common.matcher.action.v3.SkipFilter"},
    }
    others = {"predicate": {"not_matcher": is_grpc}, "on_match": {"action": skip}}
    return {
        "name": f"perennial.grpc_{name}",
        "typed_config": {
            "@type": f"{TYPE}extensions.common.matching.v3.ExtensionWithMatcher",
            "extension_config": _lua(code),
            "xds_matcher": {"matcher_list": {"matchers": [others]}},
        },
    }


def _lua(code: str) -> Json:
    config = {
        "@type": f"{TYPE}extensions.filters.http.lua.v3.Lua",
        "default_source_code": {"inline_string": code},
    }
    return {"name": "envoy.filters.http.lua", "typed_config": config}


def _set(texts: list[str]) -> str:
    """Return a Lua table whose keys are the texts."""
    return "{" + ", ".join(f"[{json.dumps(text)}] = true" for text in texts) + "}"
