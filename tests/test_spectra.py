"""Spectra of matrices that are built from known eigenvalues and eigenvectors."""

import numpy as np
import pytest
from scipy.sparse.linalg import ArpackError, ArpackNoConvergence, LinearOperator

from helpers import eigen, spectra
from helpers.errors import ConvergenceError, MatchingError


def known(n, seed=0):
    """A symmetric matrix, its eigenvalues ascending (both signs, well apart) and its eigenvectors."""
    rng = np.random.default_rng(seed)
    vectors = np.linalg.qr(rng.standard_normal((n, n)))[0]
    values = np.sort(np.linspace(-1.5, 1.0, n) + 0.2 / n * rng.uniform(-1, 1, n))
    values[-4:] = [1.6, 2.3, 3.1, 4.2]
    return (vectors * values) @ vectors.T, values, vectors


def operator(A):
    """The products of A and nothing else."""
    return LinearOperator(A.shape, matvec=lambda v: A @ v, matmat=lambda V: A @ V, dtype=float)


def test_eigenvalues_ascend():
    A, values, _ = known(90)
    np.testing.assert_allclose(spectra.eigenvalues(A), values, atol=1e-12)
    assert spectra.eigenvalues([[2, 0], [0, -1]]).tolist() == [-1.0, 2.0]


@pytest.mark.parametrize("form", [np.asarray, operator])
@pytest.mark.parametrize(
    ("n", "k"),
    [(5, 1), (5, 5), (64, 3), (64, 40), (65, 3), (200, 1), (200, 4), (200, 110), (200, 200)],
)
def test_top_eigenpairs(form, n, k):
    A, values, vectors = known(n)
    found, columns = spectra.top_eigenpairs(form(A), k)
    assert found.shape == (k,) and columns.shape == (n, k)
    np.testing.assert_allclose(found, values[::-1][:k], atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(columns, axis=0), 1, atol=1e-12)
    np.testing.assert_allclose(A @ columns, columns * found, atol=1e-7)
    peaks = np.abs(columns).argmax(axis=0)
    assert (columns[peaks, np.arange(k)] > 0).all()
    # the four isolated ones are the vectors that the matrix was made of
    overlaps = np.abs(np.sum(columns[:, :4] * vectors[:, ::-1][:, : min(k, 4)], axis=0))
    np.testing.assert_allclose(overlaps, 1, atol=1e-9)


@pytest.mark.parametrize("form", [np.asarray, operator])
@pytest.mark.parametrize("n", [10, 100])
def test_top_eigenpairs_of_zero(form, n):
    values, vectors = spectra.top_eigenpairs(form(np.zeros((n, n))), 3)
    assert values.tolist() == [0.0, 0.0, 0.0]
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(3), atol=1e-12)


def test_top_means_largest_not_largest_in_size():
    A = np.diag(np.r_[-9.0, -7.0, np.linspace(-1, 1, 98)])
    assert spectra.top_eigenpairs(A, 2)[0] == pytest.approx([1.0, 1 - 2 / 97])


def test_sign_is_that_of_the_largest_entry():
    v = np.array([0.1, -0.9, 0.2, 0.3])
    v /= np.linalg.norm(v)
    vector = spectra.top_eigenpairs(np.outer(v, v), 1)[1][:, 0]
    np.testing.assert_allclose(vector, -v, atol=1e-12)


def test_two_calls_agree_to_the_last_bit():
    A = known(150)[0]
    first, second = spectra.top_eigenpairs(A, 3), spectra.top_eigenpairs(A, 3)
    assert np.array_equal(first[0], second[0]) and np.array_equal(first[1], second[1])
    assert spectra.operator_norm(A) == spectra.operator_norm(A)


@pytest.mark.parametrize("form", [np.asarray, operator])
@pytest.mark.parametrize("n", [20, 200])
def test_k_out_of_range(form, n):
    A = form(known(n)[0])
    with pytest.raises(ValueError, match=f"at most n = {n}, got {n + 1}"):
        spectra.top_eigenpairs(A, n + 1)
    with pytest.raises(ValueError, match="k must be at least 1"):
        spectra.top_eigenpairs(A, 0)
    with pytest.raises(TypeError, match="k must be an integer"):
        spectra.top_eigenpairs(A, 2.0)


@pytest.mark.parametrize("form", [np.asarray, operator])
@pytest.mark.parametrize("n", [30, 64, 65, 200])
def test_operator_norm(form, n):
    A, values, vectors = known(n)
    assert spectra.operator_norm(form(A)) == pytest.approx(4.2, rel=1e-9)
    values[0] = -5.5  # the largest in size is negative
    assert spectra.operator_norm(form((vectors * values) @ vectors.T)) == pytest.approx(5.5, 1e-9)


@pytest.mark.parametrize("form", [np.asarray, operator])
@pytest.mark.parametrize("n", [1, 10, 100])
def test_norm_of_zero(form, n):
    assert spectra.operator_norm(form(np.zeros((n, n)))) == 0.0


@pytest.mark.parametrize("form", [np.asarray, operator])
@pytest.mark.parametrize("n", [1, 10, 100])
def test_norm_of_a_multiple_of_the_identity(form, n):
    assert spectra.operator_norm(form(-3.0 * np.eye(n))) == pytest.approx(3.0, rel=1e-12)


@pytest.mark.parametrize("form", [np.asarray, operator])
@pytest.mark.parametrize("n", [1, 10, 100])
def test_both_ends_are_those_of_all_eigenvalues(form, n):
    for A in (known(n)[0] if n > 1 else np.eye(1), np.zeros((n, n)), -2.0 * np.eye(n)):
        ends, vectors = spectra.both_ends(form(A))
        assert np.allclose(ends, spectra.eigenvalues(A)[[0, -1]], rtol=0, atol=1e-12)
        assert np.allclose(A @ vectors, vectors * ends, atol=1e-8)
        assert np.allclose(np.linalg.norm(vectors, axis=0), 1)


FUNCTIONS = [
    spectra.both_ends,
    spectra.eigenvalues,
    spectra.operator_norm,
    lambda A: spectra.top_eigenpairs(A, 1),
]


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(
    ("A", "error", "message"),
    [
        ([[1.0, 2.0], [2.1, 1.0]], ValueError, "symmetric, .* up to 1.00e-01"),
        (np.ones((2, 3)), ValueError, r"square matrix, got shape \(2, 3\)"),
        (np.ones(3), ValueError, "square matrix"),
        (np.ones((0, 0)), ValueError, "square matrix"),
        ([[1.0, np.nan], [np.nan, 1.0]], ValueError, "A must be finite"),
        ([[1.0, 1j], [-1j, 1.0]], TypeError, "A must hold real numbers"),
        ([[True]], TypeError, "A must hold real numbers"),
        ([["a"]], TypeError, "A must hold real numbers"),
    ],
)
def test_wrong_matrices(function, A, error, message):
    with pytest.raises(error, match=message):
        function(A)


def test_rounding_is_no_asymmetry():
    A = known(40)[0]
    A[0, 1] *= 1 + 1e-12
    assert spectra.operator_norm(A) == pytest.approx(4.2)


def test_lanczos_that_stops_short_says_how_far_it_came(monkeypatch):
    def stop(*_, **__):
        raise ArpackNoConvergence("no", np.ones(2), np.ones((100, 2)))

    monkeypatch.setattr(eigen, "eigsh", stop)
    with pytest.raises(ConvergenceError, match="Lanczos found 2 of 3 eigenpairs"):
        spectra.top_eigenpairs(np.eye(100), 3)


# ---------------------------------------------------------------- block Krylov


def test_block_eigenpairs():
    n = 300
    vectors = np.linalg.qr(np.random.default_rng(1).standard_normal((n, n)))[0]
    values = np.r_[np.linspace(-0.5, 0.5, n - 3), 2.0, 3.0, 5.0]
    A = (vectors * values) @ vectors.T
    found, columns = spectra.block_eigenpairs(operator(A), 3)
    assert found == pytest.approx([5.0, 3.0, 2.0], rel=1e-9)
    np.testing.assert_allclose(np.abs(np.sum(columns * vectors[:, :-4:-1], axis=0)), 1, atol=1e-6)
    peaks = np.abs(columns).argmax(axis=0)
    assert (columns[peaks, np.arange(3)] > 0).all()
    with pytest.raises(ConvergenceError, match="1 passes were too few") as caught:
        spectra.block_eigenpairs(operator(A), 3, passes=1)
    assert caught.value.residual > 1e-4
    with pytest.raises(ValueError, match="at most n = 300"):
        spectra.block_eigenpairs(operator(A), 301)


def test_two_calls_of_block_eigenpairs_agree_to_the_last_bit():
    A = np.diag(np.linspace(0, 1, 90) ** 3)
    first, second = (spectra.block_eigenpairs(operator(A), 2) for _ in range(2))
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])


def test_the_residual_of_block_eigenpairs_is_that_of_its_worst_pair():
    """The tolerance is held against the largest residual of a pair, relative to the first eigenvalue."""
    n, k = 120, 3
    vectors = np.linalg.qr(np.random.default_rng(2).standard_normal((n, n)))[0]
    A = (vectors * np.linspace(0, 1, n) ** 2) @ vectors.T
    values, columns = spectra.block_eigenpairs(operator(A), k, passes=3, tolerance=1.0)
    residuals = np.linalg.norm(A @ columns - columns * values, axis=0) / values[0]
    assert residuals.max() > 1e-3
    spectra.block_eigenpairs(operator(A), k, passes=3, tolerance=1.001 * residuals.max())
    with pytest.raises(ConvergenceError) as caught:
        spectra.block_eigenpairs(operator(A), k, passes=3, tolerance=0.999 * residuals.max())
    assert caught.value.residual == pytest.approx(residuals.max(), rel=1e-9)


# ---------------------------------------------------------------- histogram


def test_histogram_counts_by_hand():
    drawn = spectra.histogram([0.0, 0.1, 0.6, 1.0, 1.9, 2.0], bins=2)
    assert drawn.edges.tolist() == [0.0, 1.0, 2.0]
    assert drawn.density == pytest.approx([3 / 6, 3 / 6])  # 1.0 belongs to the right bin


def test_histogram_has_mass_one():
    values = np.random.default_rng(0).exponential(size=1000)
    drawn = spectra.histogram(values, 17)
    assert len(drawn.density) == 17 and len(drawn.edges) == 18
    assert drawn.density @ np.diff(drawn.edges) == pytest.approx(1.0, rel=1e-12)
    assert (drawn.edges[0], drawn.edges[-1]) == (values.min(), values.max())
    assert len(spectra.histogram(values).density) == 60


def test_histogram_range_leaves_mass_out_but_counts_it():
    drawn = spectra.histogram([-5.0, 0.25, 0.75, 8.0], 2, range=(0.0, 1.0))
    assert drawn.edges.tolist() == [0.0, 0.5, 1.0]
    assert drawn.density == pytest.approx([0.5, 0.5])


@pytest.mark.parametrize(
    ("values", "bins", "error", "message"),
    [
        ([], 5, ValueError, "values must be a vector with at least one entry"),
        (3.0, 5, ValueError, "values must be a vector"),
        (np.ones((2, 2)), 5, ValueError, r"values must be a vector .*\(2, 2\)"),
        ([1.0, np.inf], 5, ValueError, "values must be finite"),
        ([1j], 5, TypeError, "values must hold real numbers"),
        ([1.0], 0, ValueError, "bins must be at least 1"),
        ([1.0], 2.5, TypeError, "bins must be an integer"),
        ([1.0], True, TypeError, "bins must be an integer"),
    ],
)
def test_histogram_wrong_input(values, bins, error, message):
    with pytest.raises(error, match=message):
        spectra.histogram(values, bins)


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize("kind", [ConvergenceError, MatchingError])
def test_errors_carry_their_residual(kind):
    error = kind("it stopped", 0.00125)
    assert error.residual == 0.00125
    assert str(error).startswith("it stopped (") and "1.25e-03" in str(error)
    assert isinstance(error, RuntimeError)


@pytest.mark.parametrize("gap", [1e-2, 1e-4, 1e-6, 0.0])
def test_a_norm_whose_two_ends_are_nearly_equal(gap):
    """One Lanczos vector may settle on the smaller of lambda and minus lambda."""
    rng = np.random.default_rng(5)
    Q = np.linalg.qr(rng.standard_normal((200, 200)))[0]
    values = rng.uniform(-0.99, 0.99, 200)
    values[:2] = 1 - gap, -1.0
    A = (Q * values) @ Q.T
    assert spectra.operator_norm(A) == pytest.approx(1.0, rel=1e-12)
    value, vector = spectra.extreme_eigenpair(A)
    assert np.allclose(A @ vector, value * vector, atol=1e-6)


# ---------------------------------------------------------------- bounds and errors of the eigen-solvers


def counted(A):
    """The products of A, and the widths of the blocks that it was multiplied with."""
    widths = []

    def product(V):
        widths.append(V.shape[1])
        return A @ V

    A = np.asarray(A)
    return LinearOperator(A.shape, matvec=lambda v: A @ v, matmat=product, dtype=float), widths


def test_every_pass_is_one_product_with_a_block():
    """k + 8 vectors a pass, eight passes if none are given, and no more than complete the space."""
    A = np.diag(np.r_[np.linspace(0, 1, 190), 5.0, 9.0])
    form, widths = counted(A)
    assert spectra.block_eigenpairs(form, 2)[0] == pytest.approx([9.0, 5.0], rel=1e-9)
    assert widths == [10] * 8
    form, widths = counted(A)
    spectra.block_eigenpairs(form, 2, passes=3, tolerance=0.5)
    assert widths == [10] * 3
    form, widths = counted(A[-25:, -25:])
    assert spectra.block_eigenpairs(form, 2, tolerance=1e-12)[0] == pytest.approx(
        [9.0, 5.0], rel=1e-13
    )
    assert widths == [10, 10, 5]
    form, widths = counted(A[-4:, -4:])
    values = spectra.block_eigenpairs(form, 4, tolerance=1e-12)[0]
    assert values == pytest.approx(np.diag(A)[:-5:-1], rel=1e-12) and widths == [4]


def test_the_residual_is_relative_to_the_first_eigenvalue():
    """Scaled by a thousand, or with the opposite sign, a matrix has the same pairs and the same residual."""
    A = known(100)[0]
    residuals = []
    for factor in (1.0, 1000.0, 1e-3):
        with pytest.raises(ConvergenceError) as caught:
            spectra.block_eigenpairs(factor * A, 3, passes=2, tolerance=1e-12)
        residuals.append(caught.value.residual)
    assert residuals == pytest.approx([residuals[0]] * 3, rel=1e-6)
    below = -np.diag(np.linspace(1, 2, 30))  # the largest of all is negative
    values, _ = spectra.block_eigenpairs(below, 2)
    assert values == pytest.approx([-1.0, -1 - 1 / 29], rel=1e-12)
    with pytest.raises(
        ConvergenceError, match="^1 passes were too few for 2 eigenpairs: ask for more"
    ):
        spectra.block_eigenpairs(below, 2, passes=1)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"k": 0}, ValueError, "k must be at least 1"),
        ({"k": 6}, ValueError, "k must be at most n = 5, got 6"),
        ({"passes": 0}, ValueError, "passes must be at least 1"),
        ({"passes": 1.5}, TypeError, "passes must be an integer"),
        ({"tolerance": 0.0}, ValueError, "tolerance must be"),
        ({"tolerance": -1.0}, ValueError, "tolerance must be"),
        ({"A": np.ones((2, 3))}, ValueError, "A must be a square matrix"),
    ],
)
def test_wrong_arguments_of_block_eigenpairs(change, error, message):
    with pytest.raises(error, match=message):
        spectra.block_eigenpairs(**({"A": np.eye(5), "k": 2} | change))
    assert spectra.block_eigenpairs(np.eye(5), 5, passes=1)[0] == pytest.approx(np.ones(5))


@pytest.mark.parametrize("scale", [1.0, 1e6, 1e-6])
def test_asymmetry_is_measured_beside_the_largest_entry(scale):
    """Up to 1e-8 of it is taken for a rounding."""
    A = scale * np.diag([4.0, 1.0, 2.0])
    A[0, 1] = 3.9e-8 * scale
    assert spectra.eigenvalues(A) == pytest.approx(scale * np.array([1.0, 2.0, 4.0]))
    A[0, 1] = -4.1e-8 * scale
    with pytest.raises(ValueError, match="^A must be symmetric, .A - A.T. is up to 4.10e"):
        spectra.eigenvalues(A)


@pytest.mark.parametrize("form", [np.asarray, operator])
def test_an_error_of_arpack_is_not_hidden(monkeypatch, form):
    """Only the zero matrix, where ARPACK has nothing to start from, has an answer all the same."""

    def stop(*_, **__):
        raise ArpackError(-9)

    monkeypatch.setattr(eigen, "eigsh", stop)
    with pytest.raises(ArpackError, match="-9"):
        spectra.top_eigenpairs(form(np.eye(100)), 2)
    values, vectors = spectra.top_eigenpairs(form(np.zeros((100, 100))), 2)
    assert values.tolist() == [0.0, 0.0]
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(2), atol=1e-15)


def test_lanczos_that_stops_short_has_no_residual(monkeypatch):
    def stop(*_, **__):
        raise ArpackNoConvergence("no", np.ones(1), np.ones((100, 1)))

    monkeypatch.setattr(eigen, "eigsh", stop)
    with pytest.raises(ConvergenceError, match="^Lanczos found 1 of 2 eigenpairs") as caught:
        spectra.top_eigenpairs(np.eye(100), 2)
    assert np.isnan(caught.value.residual) and isinstance(
        caught.value.__cause__, ArpackNoConvergence
    )


def test_lanczos_is_asked_for_what_is_documented(monkeypatch):
    """The largest ones, or those of largest size, to a relative 1e-10, from a start that is no eigenvector."""
    asked, eigsh = [], eigen.eigsh

    def listen(A, k, **given):
        asked.append((k, given))
        return eigsh(A, k, **given)

    monkeypatch.setattr(eigen, "eigsh", listen)
    A = known(100)[0]
    spectra.top_eigenpairs(A, 3)
    spectra.operator_norm(A)
    assert [(k, given["which"], given["tol"]) for k, given in asked] == [
        (3, "LA", 1e-10),
        (2, "LM", 1e-10),
    ]
    assert np.linalg.norm(asked[0][1]["v0"]) > 1 and len(set(asked[0][1]["v0"])) == 100
    asked.clear()
    spectra.top_eigenpairs(A, 50)  # half of all, and small matrices, are solved densely
    spectra.top_eigenpairs(A[:64, :64], 3)
    spectra.operator_norm(A[:64, :64])
    assert not asked
    spectra.top_eigenpairs(A, 49)
    spectra.top_eigenpairs(A[:65, :65], 3)
    spectra.operator_norm(A[:65, :65])
    assert [k for k, _ in asked] == [49, 3, 2]


@pytest.mark.parametrize("n", [1, 3, 100])
def test_an_extreme_pair_of_zero_has_a_unit_vector(n):
    value, vector = spectra.extreme_eigenpair(np.zeros((n, n)))
    assert value == 0.0 and np.linalg.norm(vector) == pytest.approx(1.0, rel=1e-12)


@pytest.mark.parametrize("n", [3, 100])
def test_an_extreme_pair_belongs_together(n):
    values = np.r_[np.linspace(-1, 1, n - 1), -2.0]
    value, vector = spectra.extreme_eigenpair(np.diag(values))
    assert value == pytest.approx(-2.0, rel=1e-12)
    np.testing.assert_allclose(np.abs(vector), np.eye(n)[-1], atol=1e-8)
