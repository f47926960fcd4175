// The mathematics of the explorer: settings in, coefficients, twin and limiting law out. It touches no page.
// The data have tau_0 = 1; the equations are those of the book's chapters on the theorems, twins and limiting law.
"use strict";

const explorer = {};

{
  const FIELDS = ["alpha1", "alpha2", "alpha3", "beta1", "beta2", "beta3", "gamma2", "kappa2"];

  // ------------------------------------------------------------ the DEQ

  function clenshaw(series, x) {
    let [b1, b2] = [0, 0];
    for (let k = series.length - 1; k > 0; k--) [b1, b2] = [series[k] + 2 * x * b1 - b2, b1];
    return series.length ? series[0] + x * b1 - b2 : 0;
  }

  function inputVariance(inputs, a2) {
    return inputs === "paper" ? 1 - a2 : 1;
  }

  // The Gaussian moments of the activation at the DEQ's own tau_*.
  function moments(table, a2) {
    const x = (2 * a2) / table.top - 1;
    return Object.fromEntries(
      Object.entries(table.moments).map(([name, series]) => [name, clenshaw(series, x)])
    );
  }

  // Theorems 1 and 2, as equivalents.coefficients computes them.
  function implicit(m, a2, b2) {
    const [g1, g2] = [m.slope ** 2, m.curvature ** 2];
    const gain = a2 * g1;
    const room = 1 - gain;
    const alpha1 = (b2 * g1) / room;
    const alpha4 = b2 / (1 - a2 * m.response);
    const alpha2 = (g2 * alpha4 ** 2) / (4 * room);
    const alpha3 = (g2 * (a2 * alpha1 + b2) ** 2) / (2 * room);
    return {
      tau: Math.sqrt(a2 * m.second + b2),
      gamma2: m.second,
      alpha1, alpha2, alpha3, alpha4,
      kappa2: m.second / (1 - a2 * m.spread),
      beta1: alpha1 / room,
      beta2: alpha2 / room,
      beta3: (alpha3 * (1 + 2 * gain)) / room,
    };
  }

  // ------------------------------------------------------------ the twin

  // A layer of norm one: E[f'], E[f''], E[(f^2)'']/2, E[f'^2], and its standard deviation before the scaling.
  const families = {
    leaky_relu: {
      moments([angle]) {
        const width = Math.sqrt(1 - 2 / Math.PI); // standard deviation of |xi|
        const [line, bend] = [Math.cos(angle), Math.sin(angle) / width];
        return layer(line, bend * Math.sqrt(2 / Math.PI), 1, line ** 2 + bend ** 2);
      },
      shown([angle], scale) {
        const width = Math.sqrt(1 - 2 / Math.PI);
        const [line, bend] = [scale * Math.cos(angle), (scale * Math.sin(angle)) / width];
        return { a: line + bend, b: line - bend };
      },
      value: ({ a, b }, x) => (x > 0 ? a * x : b * x) - (a - b) / Math.sqrt(2 * Math.PI),
    },
    leaky_hard_tanh: {
      moments([logarithm, beyond]) {
        const size = clipped(logarithm, beyond);
        // an odd function has E[f''] = 0, and then its response enters no coefficient
        return layer(size.slope / size.norm, 0, 0, size.steep / size.norm ** 2);
      },
      shown([logarithm, beyond], scale) {
        const a = scale / clipped(logarithm, beyond).norm;
        return { a, b: a * beyond, c: Math.exp(logarithm) };
      },
      value: ({ a, b, c }, x) => (a - b) * Math.min(Math.max(x, -c), c) + b * x,
    },
    polynomial: {
      moments(raw) {
        const q = normalized(raw);
        const [slope, curvature] = [q[0], Math.SQRT2 * (q[1] ?? 0)];
        let [steep, response] = [0, 0];
        for (let k = 1; k <= q.length; k++) {
          steep += k * q[k - 1] ** 2;
          if (k > 2) response += q[k - 1] * q[k - 3] * Math.sqrt(k * (k - 1));
        }
        return layer(slope, curvature, steep + response, steep);
      },
      shown: (raw, scale) => ({ coefficients: [0, ...normalized(raw).map((q) => scale * q)] }),
      value({ coefficients }, x) {
        let [before, now, sum] = [0, 1, 0]; // orthonormal Hermite polynomials h_k
        coefficients.forEach((q, k) => {
          sum += q * now;
          [before, now] = [now, (x * now - Math.sqrt(k) * before) / Math.sqrt(k + 1)];
        });
        return sum;
      },
    },
  };

  function layer(slope, curvature, response, spread) {
    return { second: 1, slope, curvature, response, spread };
  }

  function normalized(q) {
    const norm = Math.hypot(...q);
    return q.map((x) => x / norm);
  }

  // Moments of the function of slope 1 up to c and slope b beyond.
  function clipped(logarithm, b) {
    const c = Math.exp(logarithm);
    const inside = 2 * normalBelow(c) - 1;
    const density = Math.exp((-c * c) / 2) / Math.sqrt(2 * Math.PI);
    const square = inside - 2 * c * density + c * c * (1 - inside); // of clip(xi, -c, c)
    const rest = 1 - b;
    return {
      slope: b + rest * inside,
      norm: Math.sqrt(b * b + 2 * b * rest * inside + rest * rest * square),
      steep: b * b + (1 - b * b) * inside,
    };
  }

  // The normal distribution function for x > 0, by a series of positive terms.
  function normalBelow(x) {
    if (x > 9) return 1;
    let [sum, term] = [x, x];
    for (let k = 3; term > 1e-17 * sum; k += 2) sum += term *= (x * x) / k;
    return 0.5 + (sum * Math.exp((-x * x) / 2)) / Math.sqrt(2 * Math.PI);
  }

  // The recursions of explicit networks, from tau_0 = 1; each layer keeps the norm, the last gives it gamma.
  // The tangent kernel is that with the first layer frozen, the counterpart of a frozen B.
  function explicit(layers, gamma2) {
    let [a1, a2, a3, a4, b1, b2, b3, kappa2] = [1, 0, 0, 1, 0, 0, 0, 0];
    layers.forEach((m, l) => {
      const scale = l === layers.length - 1 ? gamma2 : 1;
      const [g1, g2] = [scale * m.slope ** 2, scale * m.curvature ** 2];
      b3 = b3 * g1 + b1 * a1 * g2;
      [a1, a2, a3] = [a1 * g1, a2 * g1 + (g2 * a4 ** 2) / 4, a3 * g1 + (g2 * a1 ** 2) / 2];
      a4 *= scale * m.response;
      [b1, b2, b3] = [a1 + b1 * g1, a2 + b2 * g1, a3 + b3];
      kappa2 = scale * (1 + kappa2 * m.spread);
    });
    return {
      gamma2, alpha1: a1, alpha2: a2, alpha3: a3, alpha4: a4, kappa2, beta1: b1, beta2: b2, beta3: b3,
    };
  }

  // What the four equations leave over, alpha_1 by its root, which has a derivative where it vanishes.
  function defects(family, x, goal) {
    const layers = x.map((raw) => families[family].moments(raw));
    const found = explicit(layers, goal.gamma2);
    const root = layers.reduce((product, m) => product * m.slope, Math.sqrt(goal.gamma2));
    const rest = ["alpha2", "alpha3"]
      .filter((name) => goal[name] > 1e-14)
      .map((name) => found[name] / goal[name] - 1);
    return [(root - Math.sqrt(goal.alpha1)) / Math.sqrt(goal.gamma2), ...rest];
  }

  // Newton's iteration with the shortest step, so that it ends at the solution nearest to its start.
  function solve(family, start, goal) {
    const rows = start.map((raw) => raw.length);
    let flat = start.flat();
    const shaped = (x) => {
      let from = 0;
      return rows.map((size) => x.slice(from, (from += size)));
    };
    const at = (x) => defects(family, shaped(x), goal);
    for (let steps = 0; steps < 40; steps++) {
      const r = at(flat);
      if (Math.max(...r.map(Math.abs)) < 1e-14) break;
      const jacobian = flat.map((_, j) => {
        const moved = (h) => at(flat.map((x, i) => (i === j ? x + h : x)));
        const [up, down] = [moved(1e-6), moved(-1e-6)];
        return r.map((_, i) => (up[i] - down[i]) / 2e-6);
      });
      const step = shortest(jacobian, r);
      flat = flat.map((x, j) => x - step[j]);
      if (Math.hypot(...step) < 1e-14) break;
    }
    return shaped(flat);
  }

  // The least-norm solution y of J y = r, for J given by columns, from (J J^T) w = r, y = J^T w.
  function shortest(columns, r) {
    const n = r.length;
    const gram = r.map((_, i) => r.map((_, k) => columns.reduce((s, c) => s + c[i] * c[k], 0)));
    const trace = gram.reduce((s, row, i) => s + row[i], 0);
    gram.forEach((row, i) => (row[i] += 1e-13 * trace)); // equations of leaky layers depend on each other
    const w = [...r];
    for (let i = 0; i < n; i++) {
      for (let k = i + 1; k < n; k++) {
        const factor = gram[k][i] / gram[i][i];
        for (let j = i; j < n; j++) gram[k][j] -= factor * gram[i][j];
        w[k] -= factor * w[i];
      }
    }
    for (let i = n - 1; i >= 0; i--) {
      for (let j = i + 1; j < n; j++) w[i] -= gram[i][j] * w[j];
      w[i] /= gram[i][i];
    }
    return columns.map((c) => c.reduce((s, x, i) => s + x * w[i], 0));
  }

  // Starts for Newton, in the order to try them: along the run of twins that holds a2, then the run's own twins
  // beside it, since a run may step from one solution to another. Outside of all runs, the nearest end of one.
  function starts(runs, a2) {
    const away = (run) => Math.max(run.sigma_a2[0] - a2, a2 - run.sigma_a2.at(-1), 0);
    const run = runs.reduce((best, one) => (away(one) < away(best) ? one : best));
    const places = run.sigma_a2;
    const right = places.findIndex((place) => place >= a2);
    if (right <= 0) return { family: run.family, all: [run.layers.at(right)] };
    const weight = (a2 - places[right - 1]) / (places[right] - places[right - 1]);
    const [before, after] = [run.layers[right - 1], run.layers[right]];
    const between = after.map((raw, l) =>
      raw.map((value, k) => weight * value + (1 - weight) * before[l][k])
    );
    const beside = weight < 0.5 ? [before, after] : [after, before];
    return { family: run.family, all: [between, ...beside] };
  }

  function twin(runs, a2, goal) {
    const { family, all } = starts(runs, a2);
    let found;
    for (const from of all) {
      found = complete(family, solve(family, from, goal), goal);
      if (found.residual < 1e-9) break;
    }
    return found;
  }

  // What is shown of a twin, with its coefficients computed from its own layers.
  function complete(family, x, goal) {
    const found = explicit(x.map((raw) => families[family].moments(raw)), goal.gamma2);
    const scale = (l) => (l === x.length - 1 ? Math.sqrt(goal.gamma2) : 1);
    const residual = Math.max(
      ...["alpha1", "alpha2", "alpha3"].map((name) => {
        const size = goal[name] > 1e-10 * goal.gamma2 ? goal[name] : goal.gamma2;
        return Math.abs(found[name] - goal[name]) / size;
      })
    );
    const layers = x.map((raw, l) => families[family].shown(raw, scale(l)));
    return { family, layers, coefficients: found, residual };
  }

  // ------------------------------------------------------------ the limiting law

  // Weights of X^T X, norms and squares, and the multiple of the identity, of the kernel that is asked for.
  function weights(c, kernel) {
    const [first, second, third, diagonal] =
      kernel === "ck"
        ? [c.alpha1, c.alpha2, c.alpha3, c.gamma2]
        : [c.beta1, c.beta2, c.beta3, c.kappa2];
    return { first, second, third, place: diagonal - first };
  }

  // Marchenko and Pastur's law for n vectors in dimension p, stretched by `first` and moved to `place`.
  function law(w, { ratio, distance, norms }) {
    const c = 1 / ratio; // n/p
    const coupled = w.first > 1e-12 * Math.abs(w.place);
    const edge = (sign) => w.place + w.first * (1 + sign * Math.sqrt(c)) ** 2;
    return {
      support: coupled ? [edge(-1), edge(1)] : null,
      atom: coupled ? (c > 1 ? { place: w.place, mass: 1 - ratio } : null) : { place: w.place, mass: 1 },
      spikes: spikes(w, c, coupled ? w.first : 0, distance ** 2 / 4, norms / 2),
      first: coupled ? w.first : 0,
      place: w.place,
      ratio: c,
    };
  }

  function density(law, x) {
    if (!law.support) return 0;
    const [low, high] = law.support;
    if (x <= low || x >= high) return 0;
    return Math.sqrt((x - low) * (high - x)) / (2 * Math.PI * law.ratio * law.first * (x - law.place));
  }

  // Zeros of det(I + B S) for means +mu and -mu, m = |mu|^2, and norms t = (-e, e). In u = c m_a the determinant
  // falls into 1 + third u, of the direction that all samples share, and a quadratic of those that tell them apart.
  function spikes(w, c, first, m, e) {
    const found = [];
    const add = (u, common) => {
      const P = 1 / (1 + first * u);
      const slope = (first * u * P) ** 2 / c; // below one outside of the bulk
      if (!Number.isFinite(u) || u === 0 || !(slope < 1)) return;
      const place = w.place + first * P - c / u;
      found.push({ place, common, alignment: (1 - slope) * (common ? 1 : share(w, first, m, e, u)) });
    };
    if (w.third > 0) add(-1 / w.third, true);
    const bend = w.second * e * e;
    const roots = quadratic(
      first * (2 * w.second * (1 + m) + bend),
      first * (1 + m) + 2 * w.second + bend,
      1
    );
    roots.forEach((u) => add(u, false));
    return found.sort((a, b) => a.place - b.place);
  }

  // How much of a spike's vector points to the classes; the rest lies along the norms and the means.
  function share(w, first, m, e, u) {
    const P = 1 / (1 + first * u);
    const mixed = w.second * e * u;
    const rows = [
      [1 + e * mixed + m * first * u * P, -2 * mixed],
      [-mixed, 1 + 2 * w.second * u],
    ];
    const [x, y] = Math.hypot(...rows[0]) > Math.hypot(...rows[1]) ? rows[0] : rows[1];
    const [classes, norms] = [y * y, x * x];
    const total = classes * (1 + m * (first * u * P) ** 2) + 2 * norms;
    return total > 0 ? classes / total : 0;
  }

  function quadratic(a, b, c) {
    if (Math.abs(a) < 1e-14 * Math.abs(b)) return b === 0 ? [] : [-c / b];
    const half = -(b + Math.sign(b || 1) * Math.sqrt(Math.max(b * b - 4 * a * c, 0))) / 2;
    return half === 0 ? [] : [half / a, c / half];
  }

  // ------------------------------------------------------------ all of it

  // settings: activation, inputs ("paper" or "unit"), sigma_a2, kernel ("ck" or "ntk"),
  // distance |mu_1 - mu_2|, norms |t_1 - t_2|, ratio p/n.
  function compute(settings) {
    const table = explorer.tables[settings.activation][settings.inputs];
    const a2 = Math.min(settings.sigma_a2, table.top);
    const m = moments(table, a2);
    const coefficients = implicit(m, a2, inputVariance(settings.inputs, a2));
    const match = twin(table.twins, a2, coefficients);
    return {
      sigma_a2: a2,
      top: table.top,
      threshold: table.threshold,
      load: a2 * m.spread, // one at the sharp threshold
      coefficients,
      twin: match,
      law: law(weights(coefficients, settings.kernel), settings),
      twinLaw: law(weights(match.coefficients, settings.kernel), settings),
      critical: 2 * settings.ratio ** 0.25, // distance at which the means raise a spike
    };
  }

  Object.assign(explorer, { compute, density, families, FIELDS });
}

if (typeof window !== "undefined") window.explorer = explorer;
