// better-auth's api-key plugin over its in-memory store. Verifying is a call within the server there, without an HTTP
// route of its own, so this is the smallest server around it. Prints the one key's secret, then serves the port given.

import { createServer } from 'node:http';

import { apiKey } from '@better-auth/api-key';
import { betterAuth } from 'better-auth';
import { memoryAdapter } from 'better-auth/adapters/memory';

const store = { user: [], session: [], account: [], verification: [], apikey: [] };
const auth = betterAuth({
  baseURL: 'http://127.0.0.1',
  secret: 'only-for-measuring-only-for-measuring',
  database: memoryAdapter(store),
  emailAndPassword: { enabled: true },
  // Its limit of ten requests a day would end the measuring.
  plugins: [apiKey({ rateLimit: { enabled: false } })],
  telemetry: { enabled: false },
});

const { user } = await auth.api.signUpEmail({
  body: { email: 'bench@example.com', password: 'only-for-measuring', name: 'Bench' },
});
const { key } = await auth.api.createApiKey({ body: { userId: user.id, name: 'bench' } });

const answer = async (request, response) => {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const question = JSON.parse(Buffer.concat(chunks).toString());
  const { valid } = await auth.api.verifyApiKey({ body: { key: question.key } });
  const body = JSON.stringify({ valid });
  response.writeHead(valid ? 200 : 401, { 'content-type': 'application/json', 'content-length': body.length });
  response.end(body);
};

const server = createServer((request, response) => {
  answer(request, response).catch((error) => response.destroy(error));
});
server.keepAliveTimeout = 600_000;
server.listen(Number(process.argv[2]), '127.0.0.1', () => console.log(key));
