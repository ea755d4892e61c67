import com.example.models.churn.ChurnInput;
import com.example.models.churn.ChurnInputException;
import com.example.models.churn.ChurnModel;
import com.example.models.churn.ChurnResult;
import java.util.List;
import java.util.function.UnaryOperator;

/** What a careless caller of the churn model gets: one line a case. */
public final class BadInput {
    private static ChurnInput.Builder good() {
        return ChurnInput.builder().tenure(12).monthlyCharges(70.35).visits(3).paperless(true)
            .contract("One year").payment("card");
    }

    private static void attempt(String what, UnaryOperator<ChurnInput.Builder> change) {
        try {
            change.apply(good()).build();
            System.out.println(what + ": taken");
        } catch (ChurnInputException error) {
            System.out.println(what + ": " + error.feature() + ": " + error.getMessage());
        }
    }

    public static void main(String[] arguments) {
        attempt("a gap where one may be", row -> row.tenure(Double.NaN).contract(null));
        attempt("null for a number", row -> row.tenure(null));
        attempt("NaN", row -> row.monthlyCharges(Double.NaN));
        attempt("infinite", row -> row.tenure(Double.POSITIVE_INFINITY));
        attempt("too large for a float", row -> row.monthlyCharges(1e39));
        attempt("null text", row -> row.payment(null));
        attempt("unseen, ignored", row -> row.contract("Zehn Jahre"));
        attempt("unseen, ignored, beyond the basic plane", row -> row.contract("Zehn Jahre \uD83D\uDE42"));
        attempt("unseen, refused", row -> row.payment("Überweisung "));
        attempt("known, not ASCII", row -> row.payment("Überweisung"));
        try {
            ChurnInput.builder().tenure(1).build();
        } catch (ChurnInputException error) {
            System.out.println("not set: " + error.feature() + ": " + error.getMessage());
        }
        try (ChurnModel model = ChurnModel.load()) {
            ChurnResult gap = model.predict(good().tenure(Double.NaN).build());
            ChurnInput.Builder unset = ChurnInput.builder().monthlyCharges(70.35).visits(3).paperless(true)
                .contract("One year").payment("card");
            System.out.println("unset is missing: " + model.predict(unset.build()).equals(gap));
            System.out.println("no rows: " + model.predict(List.of()));
            try {
                gap.probability("Leaves");
            } catch (IllegalArgumentException error) {
                System.out.println(error.getMessage());
            }
        }
    }
}
