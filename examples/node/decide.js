// Screens files and prints what to do with each: act, hold, watch or pass.
//
//     node decide.js [--server HOST:PORT] [--account ID] [--timeout-ms N] FILE...

import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import grpc from '@grpc/grpc-js';
import protoLoader from '@grpc/proto-loader';

const MAX_TRIES = 4;

const folder = (path) => fileURLToPath(new URL(path, import.meta.url));
const definitions = protoLoader.loadSync(['featsvc/v1/screening.proto', 'details.proto'], {
  includeDirs: [folder('../../proto'), folder('.')],
  keepCase: true, // fields are named as in proto/
  defaults: true, // an absent field has its default, so `matches` is always a list
  enums: String, // names; a value of a newer server stays a number, and equals no name
  longs: String, // a number would round above 2^53
});
const { ScreeningService } = grpc.loadPackageDefinition(definitions).featsvc.v1;

// What to do, by the table of docs/deciding.md; the first row that fits decides.
export function decide(answer) {
  const counting = answer.matches.filter((match) => !match.safe && !match.suppressed);
  const enforced = counting.find((match) => match.mode === 'BANK_MODE_ENFORCE');
  const watched = counting.find((match) => match.mode === 'BANK_MODE_SHADOW');
  const unknown = counting.find(
    (match) => !['BANK_MODE_ENFORCE', 'BANK_MODE_SHADOW'].includes(match.mode),
  );
  if (enforced) return { action: 'act', reason: `matches ${enforced.entry}` };
  if (answer.content_outcome !== 'OUTCOME_OK') {
    return { action: 'hold', reason: `${answer.content_outcome}: ${answer.content_outcome_reason}` };
  }
  if (unknown) return { action: 'hold', reason: `unknown mode ${unknown.mode}: ${unknown.bank}` };
  if (answer.matches_truncated) return { action: 'hold', reason: 'more matches than max_results' };
  if (watched) return { action: 'watch', reason: `matches ${watched.entry}, which is in shadow` };
  return { action: 'pass', reason: 'searched, and nothing counts' };
}

// The reason, field and retry delay of a failed call; without details if the server sent none.
export function explain(error) {
  const failure = { reason: '', field: '', retryAfterMs: undefined };
  const [packed] = error.metadata?.get('grpc-status-details-bin') ?? [];
  try {
    for (const { type_url: url, value } of packed ? unpack('Status', packed).details : []) {
      const name = url.split('/').pop();
      if (name === 'google.rpc.ErrorInfo') {
        failure.reason = unpack('ErrorInfo', value).reason;
      } else if (name === 'google.rpc.BadRequest') {
        failure.field = unpack('BadRequest', value).field_violations[0]?.field ?? '';
      } else if (name === 'google.rpc.RetryInfo') {
        const { seconds = 0, nanos = 0 } = unpack('RetryInfo', value).retry_delay ?? {};
        failure.retryAfterMs = Number(seconds) * 1000 + nanos / 1e6;
      }
    }
  } catch {
    // A proxy has cut the details: the call failed all the same.
  }
  return failure;
}

function unpack(name, bytes) {
  return definitions[`google.rpc.${name}`].deserialize(bytes);
}

// One call within the deadline; tried again only after the delay that the server advises.
async function screen(client, request, timeoutMs) {
  const deadline = Date.now() + timeoutMs;
  for (let tries = 1; ; tries++) {
    try {
      return await new Promise((resolve, reject) => {
        client.Screen(request, { deadline }, (error, answer) =>
          error ? reject(error) : resolve(answer),
        );
      });
    } catch (error) {
      const { retryAfterMs } = explain(error);
      const mayRetry = retryAfterMs !== undefined && tries < MAX_TRIES;
      if (!mayRetry || Date.now() + retryAfterMs >= deadline) throw error;
      await sleep(retryAfterMs);
    }
  }
}

// A failed call is "could not look", never "no match".
function held(error) {
  const { reason, field } = explain(error);
  const code = grpc.status[error.code];
  const details = [code, reason, field && `field ${field}`].filter(Boolean).join(', ');
  return { action: 'hold', reason: `${error.details} (${details})` };
}

async function main() {
  const { values, positionals: files } = parseArgs({
    allowPositionals: true,
    options: {
      server: { type: 'string', default: 'localhost:50051' },
      account: { type: 'string' },
      'timeout-ms': { type: 'string', default: '1000' },
    },
  });
  if (!files.length) {
    console.error('usage: node decide.js [--server HOST:PORT] [--account ID] [--timeout-ms N] FILE...');
    process.exit(2);
  }
  // With an account, the answer also has its features, for rules of your own: docs/features.md.
  const entities = values.account ? [{ entity: 'account', id: values.account }] : [];
  const client = new ScreeningService(values.server, grpc.credentials.createInsecure());
  for (const file of files) {
    const request = { content: { data: await readFile(file) }, entities };
    const { action, reason } = await screen(client, request, Number(values['timeout-ms'])).then(
      decide,
      held,
    );
    console.log(`${file}: ${action} - ${reason}`);
  }
  client.close();
}

await main();
